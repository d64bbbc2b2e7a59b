"""Where an OpenAI-compatible endpoint is, with which key it is asked, and whether it answers."""

import asyncio
import logging
import os
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp

from crowdselect_core.config.engine import OpenAIEngineConfig
from crowdselect_core.config.key_variable import OWN_HOST
from crowdselect_core.errors import ConfigError, nearest, shown
from crowdselect_core.generate.openai.api_key import ApiKey
from crowdselect_core.generate.openai.response import read_json
from crowdselect_core.generate.openai.trouble import (
    BadReply,
    Trouble,
    trouble_of,
    trouble_of_reply,
)
from crowdselect_core.urls import shown_path
from crowdselect_core.util.http import bearer, below

log = logging.getLogger("crowdselect")

OPENAI = f"https://{OWN_HOST}/v1"
FIRST_TRY = 6.0  # seconds for the first of two tries to list the models
BETWEEN = 0.5  # seconds between them


def endpoint_urls(config: OpenAIEngineConfig) -> tuple[str, ...]:
    """Return the URLs of the replicas: the config's, OPENAI_BASE_URL, or OpenAI's own."""
    urls = config.base_url or [os.environ.get("OPENAI_BASE_URL") or OPENAI]
    return tuple(dict.fromkeys(url.rstrip("/") for url in urls))


def endpoint_name(config: OpenAIEngineConfig) -> str:
    """Return the endpoint as messages name it: its URLs without credentials and queries."""
    return ", ".join(shown_url(url) for url in endpoint_urls(config))


def shown_url(url: str) -> str:
    """Return a URL without credentials and query."""
    return shown_path(url.partition("?")[0])


def checked_urls(name: str, config: OpenAIEngineConfig) -> tuple[str, ...]:
    """Return the URLs of the replicas.

    Raises:
        ConfigError: one of them is no http URL with a host.
    """
    urls = endpoint_urls(config)
    for url in urls:
        try:
            parts = urlsplit(url)
            good = parts.scheme in ("http", "https") and bool(parts.hostname)
            good = good and parts.port != 0  # reading it tells a port that is no number
        except ValueError:
            good = False
        if not good:
            raise ConfigError(
                f"{name}: base_url {shown_url(url)!r} is no URL of an endpoint, expected "
                "something like http://gpu1:8000/v1"
            )
    return urls


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One replica, as a check and its messages know it."""

    url: str
    name: str  # the crowd model's
    model: str  # the model's name there
    api_key: ApiKey

    @property
    def headers(self) -> dict[str, str]:
        """What carries the key; nothing where credentials in the URL go before it."""
        return {} if urlsplit(self.url).username else bearer(self.api_key.value)

    @property
    def shown(self) -> str:
        """The URL without credentials and query."""
        return shown_url(self.url)

    def wrong_key(self) -> ConfigError:
        """Return the error for a 401; without the server's words, they may quote the key."""
        what = "refused the key in" if self.api_key.value else "asks for a key: set"
        return ConfigError(f"{self.name}: {self.shown} (401) {what} {self.api_key.source}")

    def refused_all(self, trouble: Trouble) -> ConfigError:
        """Return the error for an endpoint that answers no call, after one of its refusals."""
        if trouble.status == 401:
            return self.wrong_key()
        if trouble.status == 404:
            return ConfigError(
                f"{self.name}: {self.shown} answered 404 to model {self.model!r} in every call "
                f"({trouble.words}): check the model's name there (engine.model) and the URL, "
                "which ends in /v1 for most servers"
            )
        what = "check the key in" if self.api_key.value else "it was sent no key: set"
        return ConfigError(
            f"{self.name}: {self.shown} refused every call ({trouble.words}): {what} "
            f"{self.api_key.source}, and check that it may use model {self.model!r}"
        )

    def silent(self, why: str) -> ConfigError:
        """Return the error for an endpoint that is not up."""
        return ConfigError(
            f"endpoint {self.shown} of model {self.name!r} does not answer ({why}): start it or "
            "correct base_url"
        )


async def check_endpoint(
    session: aiohttp.ClientSession, endpoint: Endpoint, seconds: float
) -> None:
    """List the models of a replica, in at most two tries and so many seconds.

    Raises:
        ConfigError: it does not answer, refuses the key or does not have the model.
    """
    end = time.monotonic() + seconds
    found = await _list(session, endpoint, min(FIRST_TRY, seconds))
    if isinstance(found, Trouble) and found.again:
        await asyncio.sleep(BETWEEN)
        found = await _list(session, endpoint, max(end - time.monotonic(), 0.1))
    if isinstance(found, Trouble):
        _judge(found, endpoint, seconds)
    else:
        _look_for_model(found, endpoint)


async def _list(
    session: aiohttp.ClientSession, endpoint: Endpoint, seconds: float
) -> bytes | Trouble:
    try:
        async with (
            asyncio.timeout(seconds),
            session.get(below(endpoint.url, "models"), headers=endpoint.headers) as reply,
        ):
            raw = await reply.read()
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        return trouble_of(error, endpoint.api_key.value)
    if reply.status < 300:
        return raw
    return trouble_of_reply(reply.status, reply.headers, raw, endpoint.api_key.value)


def _judge(trouble: Trouble, endpoint: Endpoint, seconds: float) -> None:
    """Raise the ConfigError of a failed check, or let a server pass that only has no list.

    A 403 may be of the list alone (a key that is for completions): the first calls will tell.
    """
    if trouble.status == 401:
        raise endpoint.wrong_key()
    if trouble.status is None:
        why = f"nothing within {seconds:g} s" if trouble.code == "timeout" else trouble.words
        raise endpoint.silent(why)
    if trouble.status >= 500:
        raise endpoint.silent(trouble.words)
    log.info(
        "%s: %s has no list of models (%s), so the name %s is not checked",
        endpoint.name, endpoint.shown, trouble.status, endpoint.model,
    )  # fmt: skip


def _look_for_model(raw: bytes, endpoint: Endpoint) -> None:
    try:
        listed = read_json(raw).get("data")
    except BadReply:
        listed = None
    entries = listed if isinstance(listed, list) else []
    names = [e["id"] for e in entries if isinstance(e, dict) and isinstance(e.get("id"), str)]
    if not names:
        log.info("%s: %s lists no models; the name is not checked", endpoint.name, endpoint.shown)
    elif endpoint.model not in names:
        known = shown(sorted(names), 5)
        raise ConfigError(
            f"{endpoint.name}: {endpoint.shown} does not have model {endpoint.model!r}"
            f"{nearest(endpoint.model, names)} (it has {known}): set engine.model to the name there"
        )
