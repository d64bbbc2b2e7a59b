"""Where an OpenAI-compatible endpoint is, with which key it is asked, and whether it answers."""

import asyncio
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp
import httpx2
import openai
from openai import AsyncOpenAI

from crowdselect_core.config.engine import OpenAIEngineConfig
from crowdselect_core.errors import ConfigError, nearest, shown
from crowdselect_core.generate.openai import response as replies
from crowdselect_core.urls import shown_path

log = logging.getLogger("crowdselect")

OPENAI = "https://api.openai.com/v1"
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


def are_local(urls: Sequence[str]) -> bool:
    """Tell whether all URLs are of this machine."""
    return all(urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1") for url in urls)


def key_of(name: str, config: OpenAIEngineConfig, given: str | None) -> tuple[str | None, str]:
    """Return the key, or None where there is none, and what to call its origin in a message.

    Raises:
        ConfigError: the variable that the config names is not set, or no header can carry the key.
    """
    variable = config.api_key_env or "OPENAI_API_KEY"
    origin = f"the environment variable {variable}"
    key = os.environ.get(variable)
    if given is not None:
        key = given
        block = config.api_key_block
        origin = f"the Prefect block {block}" if block else "the api_key given"
    elif config.api_key_env and not key:
        raise ConfigError(
            f"{name}: {origin} that api_key_env names is not set: export it with the key"
        )
    key = (key or "").strip() or None
    if key is not None and not (key.isascii() and key.isprintable()):
        raise ConfigError(f"{name}: {origin} holds characters that no key has: set it anew")
    return key, origin


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One replica, as a check and its messages know it."""

    url: str
    name: str  # the crowd model's
    model: str  # the model's name there
    key: str | None
    key_from: str

    @property
    def shown(self) -> str:
        """The URL without credentials and query."""
        return shown_url(self.url)

    def wrong_key(self, status: int) -> ConfigError:
        """Return the error for a refused key; without the server's words, they may quote it."""
        what = "refused the key in" if self.key else "asks for a key: set"
        return ConfigError(f"{self.name}: {self.shown} ({status}) {what} {self.key_from}")

    def no_model(self) -> ConfigError:
        """Return the error for a 404 to a completion."""
        return ConfigError(
            f"{self.name}: {self.shown} answered 404 to model {self.model!r}: check the model's "
            "name there (engine.model) and the URL, which ends in /v1 for most servers"
        )

    def silent(self, why: str) -> ConfigError:
        """Return the error for an endpoint that is not up."""
        return ConfigError(
            f"endpoint {self.shown} of model {self.name!r} does not answer ({why}): start it or "
            "mend base_url"
        )


async def check_endpoint(client: AsyncOpenAI, endpoint: Endpoint, seconds: float) -> None:
    """List the models of a replica, in at most two tries and so many seconds.

    Raises:
        ConfigError: it does not answer, refuses the key or does not have the model.
    """
    end = time.monotonic() + seconds
    try:
        try:
            raw = await _list(client, min(FIRST_TRY, seconds))
        except (TimeoutError, openai.APIError, aiohttp.ClientError) as error:
            if not replies.trouble_of(error, endpoint.key).again:
                raise
            await asyncio.sleep(BETWEEN)
            raw = await _list(client, max(end - time.monotonic(), 0.1))
    except (TimeoutError, openai.APIError, aiohttp.ClientError) as error:
        _judge(error, endpoint, seconds)
    else:
        _look_for_model(raw, endpoint)


async def _list(client: AsyncOpenAI, seconds: float) -> bytes:
    async with asyncio.timeout(seconds):
        reply = await client.get("/models", cast_to=httpx2.Response)
    return reply.content


def _judge(error: Exception, endpoint: Endpoint, seconds: float) -> None:
    """Raise the ConfigError of a failed check, or let a server pass that only has no list."""
    trouble = replies.trouble_of(error, endpoint.key)
    if trouble.status in (401, 403):
        raise endpoint.wrong_key(trouble.status) from None
    if trouble.status is None:
        why = f"nothing within {seconds:g} s" if trouble.code == "timeout" else trouble.words
        raise endpoint.silent(why) from None
    if trouble.status >= 500:
        raise endpoint.silent(trouble.words) from None
    log.info(
        "%s: %s has no list of models (%s), so the name %s is not checked",
        endpoint.name, endpoint.shown, trouble.status, endpoint.model,
    )  # fmt: skip


def _look_for_model(raw: bytes, endpoint: Endpoint) -> None:
    try:
        listed = replies.read_json(raw).get("data")
    except replies.BadReply:
        listed = None
    entries = listed if isinstance(listed, list) else []
    names = [e["id"] for e in entries if isinstance(e, dict) and isinstance(e.get("id"), str)]
    if not names:
        log.info("%s: %s lists no models; the name is not checked", endpoint.name, endpoint.shown)
    elif endpoint.model not in names:
        there = shown(sorted(names), 5)
        raise ConfigError(
            f"{endpoint.name}: {endpoint.shown} does not have model {endpoint.model!r}"
            f"{nearest(endpoint.model, names)} (it has {there}): set engine.model to the name there"
        )
