"""The engine of any OpenAI-compatible endpoint: vLLM, SGLang, a hosted model, a proxy.

A fixed set of workers takes requests from one queue that is kept short; retries, pauses and the
choice of a replica are ours, aiohttp only sends.
"""

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from types import MappingProxyType
from typing import Any

import aiohttp

from crowdselect_core.config.engine import OpenAIEngineConfig, SamplingConfig
from crowdselect_core.config.key_variable import takes_default_key
from crowdselect_core.errors import Stopped
from crowdselect_core.generate.base import Answer, Request, never
from crowdselect_core.generate.in_flight import InFlight
from crowdselect_core.generate.openai.api_key import ApiKey
from crowdselect_core.generate.openai.endpoint import (
    Endpoint,
    check_endpoint,
    checked_urls,
    endpoint_name,
)
from crowdselect_core.generate.openai.prefetch import Lookahead
from crowdselect_core.generate.openai.request_body import fixed_body
from crowdselect_core.generate.openai.run import Run, all_or_first_error
from crowdselect_core.util.http import are_local, open_session

__all__ = ["OpenAIEngine", "endpoint_name"]

CHECK = 9.0  # seconds for the whole of check(): a run that is to end with 2 has 15, start included
FIRST_WAIT = 0.5  # seconds before the first retry
WATCH = 0.5  # seconds between looks at whether the run is to stop
# Headers that OpenAI's own client sends where the environment has them. They name the account of
# OPENAI_API_KEY, so they go where that may go.
ACCOUNT = {"OpenAI-Organization": "OPENAI_ORG_ID", "OpenAI-Project": "OPENAI_PROJECT_ID"}
SEED_LIMIT = "the endpoint may ignore seed; what it answered is stored and not asked again"


class OpenAIEngine:
    """A model behind an endpoint that speaks OpenAI's chat completions.

    Args:
        name: the crowd model's; the endpoint knows it as `config.model`, or by the same name.
        config: where and how it is asked.
        sampling: how answers are drawn.
        chat_template_kwargs: for the server's chat template (vLLM, SGLang).
        api_key: a key or what reads one; goes before `config.api_key_env`. Without both,
            OPENAI_API_KEY is the key of OpenAI's own host and of that of OPENAI_BASE_URL.
        first_wait: seconds before the first retry; doubled each time, with jitter.

    Raises:
        ConfigError: a variable or URL that cannot be.
    """

    def __init__(
        self,
        name: str,
        config: OpenAIEngineConfig,
        sampling: SamplingConfig,
        chat_template_kwargs: Mapping[str, Any] = MappingProxyType({}),
        *,
        api_key: str | Callable[[], str] | None = None,
        first_wait: float = FIRST_WAIT,
    ) -> None:
        self.name = name
        self.model = config.model or name
        self._config = config
        named = api_key is not None or config.api_key_env is not None
        default = {url: not named and takes_default_key(url) for url in checked_urls(name, config)}
        keys = {one: ApiKey(name, config, api_key, default=one) for one in set(default.values())}
        self._endpoints = {
            url: Endpoint(url, name, self.model, keys[one]) for url, one in default.items()
        }
        self._fixed = fixed_body(name, self.model, config, sampling, chat_template_kwargs)
        self._first_wait = first_wait
        self.stopped: Callable[[], bool] = never
        self.in_flight = InFlight(config.timeout)
        seeded = sampling.seed is not None and not are_local(list(self._endpoints))
        self.limits: tuple[str, ...] = (f"{name}: {SEED_LIMIT}",) if seeded else ()

    def check(self) -> None:
        """Ask every replica for its models; see `Engine.check`."""
        asyncio.run(self._check())

    def run(self, requests: Iterator[Request], done: Callable[[Answer], None]) -> None:
        """Answer every request; see `Engine.run`.

        Raises:
            ConfigError: the endpoint refuses the key, or does not have the model.
        """
        asyncio.run(self._run(requests, done))

    def close(self) -> None:
        """Hold nothing: connections end with each run."""

    async def _check(self) -> None:
        async with AsyncExitStack() as stack:
            checks = [
                check_endpoint(await stack.enter_async_context(self._session(url)), endpoint, CHECK)
                for url, endpoint in self._endpoints.items()
            ]
            found = await asyncio.gather(*checks, return_exceptions=True)
        for complaint in found:
            if complaint is not None:
                raise complaint

    async def _run(self, requests: Iterator[Request], done: Callable[[Answer], None]) -> None:
        async with AsyncExitStack() as stack:
            sessions = {
                url: await stack.enter_async_context(self._session(url)) for url in self._endpoints
            }
            source = stack.enter_context(Lookahead(requests, self._config.concurrency))
            run = Run(
                self._config, self._endpoints, sessions, self._fixed, self._first_wait,
                self.in_flight, done,
            )  # fmt: skip
            workers = [
                asyncio.create_task(run.work(source)) for _ in range(self._config.concurrency)
            ]
            await all_or_first_error(workers, asyncio.create_task(self._watch(run)))
            run.settle_all()

    async def _watch(self, run: Run) -> None:
        """Raise Stopped when the run was asked to stop, however long the answers take."""
        while not self.stopped():
            await asyncio.sleep(WATCH)
            run.settle_idle()
        raise Stopped("asked to stop; committed results stay")

    def _session(self, url: str) -> aiohttp.ClientSession:
        own = {"Content-Type": "application/json", "Accept": "application/json"}
        given = {**own, **_account(url), **self._config.default_headers}
        return open_session(url, given, width=self._config.concurrency)


def _account(url: str) -> dict[str, str]:
    """Return the headers of ACCOUNT that an endpoint may see."""
    if not takes_default_key(url):
        return {}
    return {name: os.environ[of] for name, of in ACCOUNT.items() if os.environ.get(of)}
