"""The engine of any OpenAI-compatible endpoint: vLLM, SGLang, a hosted model, a proxy.

A fixed set of workers takes requests from one queue that is kept short; retries, pauses and the
choice of a replica are ours, the SDK only sends.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from types import MappingProxyType
from typing import Any

import httpx2
from openai import AsyncOpenAI, DefaultAioHttpClient, Timeout

from crowdselect_core.config.engine import OpenAIEngineConfig, SamplingConfig
from crowdselect_core.errors import Stopped
from crowdselect_core.generate.base import Answer, Failure, Request, failed, never
from crowdselect_core.generate.in_flight import InFlight
from crowdselect_core.generate.openai import response as replies
from crowdselect_core.generate.openai.concurrency import Replica, Replicas
from crowdselect_core.generate.openai.endpoint import (
    Endpoint,
    are_local,
    check_endpoint,
    checked_urls,
    endpoint_name,
    key_of,
)
from crowdselect_core.generate.openai.prefetch import Lookahead
from crowdselect_core.generate.openai.request_body import encoded, fixed_body

__all__ = ["OpenAIEngine", "endpoint_name"]

NO_KEY = "none"  # local servers need none, and the SDK wants one
CONNECT = 30.0  # seconds until a connection stands
CHECK = 9.0  # seconds for the whole of check(): a run that is to end with 2 has 15, start included
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0  # seconds before the first and the last retry
WATCH = 0.5  # seconds between looks at whether the run is to stop
SEED_LIMIT = "the endpoint may ignore seed; what it answered is stored and not asked again"


class OpenAIEngine:
    """A model behind an endpoint that speaks OpenAI's chat completions.

    Args:
        name: the crowd model's; the endpoint knows it as `config.model`, or by the same name.
        config: where and how it is asked.
        sampling: how answers are drawn.
        chat_template_kwargs: for the server's chat template (vLLM, SGLang).
        api_key: goes before `config.api_key_env`, which goes before OPENAI_API_KEY.
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
        api_key: str | None = None,
        first_wait: float = FIRST_WAIT,
    ) -> None:
        self.name = name
        self.model = config.model or name
        self._config = config
        self._key, origin = key_of(name, config, api_key)
        self._endpoints = {
            url: Endpoint(url, name, self.model, self._key, origin)
            for url in checked_urls(name, config)
        }
        self._fixed = fixed_body(name, self.model, config, sampling, chat_template_kwargs)
        self._first_wait = first_wait
        self.stopped: Callable[[], bool] = never
        self.in_flight = InFlight(config.timeout)
        seeded = sampling.seed is not None and not are_local(list(self._endpoints))
        self.limits: tuple[str, ...] = (f"{name}: {SEED_LIMIT}",) if seeded else ()

    def check(self) -> None:
        """Ask every replica for its models; see `Engine.check`."""
        _quieten()
        asyncio.run(self._check())

    def run(self, requests: Iterator[Request], done: Callable[[Answer], None]) -> None:
        """Answer every request; see `Engine.run`.

        Raises:
            ConfigError: the endpoint refuses the key, or does not have the model.
        """
        _quieten()
        asyncio.run(self._run(requests, done))

    def close(self) -> None:
        """Hold nothing: connections end with each run."""

    async def _check(self) -> None:
        async with AsyncExitStack() as stack:
            checks = [
                check_endpoint(await stack.enter_async_context(self._client(url)), endpoint, CHECK)
                for url, endpoint in self._endpoints.items()
            ]
            found = await asyncio.gather(*checks, return_exceptions=True)
        for complaint in found:
            if complaint is not None:
                raise complaint

    async def _run(self, requests: Iterator[Request], done: Callable[[Answer], None]) -> None:
        width = self._config.concurrency
        replicas = Replicas(list(self._endpoints), width)
        async with AsyncExitStack() as stack:
            clients = {
                url: await stack.enter_async_context(self._client(url)) for url in self._endpoints
            }
            source = stack.enter_context(Lookahead(requests, width))

            over = False  # after an error no other answer is handed over

            async def work() -> None:
                nonlocal over
                try:
                    while (request := await source.next()) is not None:
                        answer = await self._answer(request, replicas, clients)
                        if over:
                            return
                        done(answer)
                except BaseException:
                    over = True
                    raise

            workers = [asyncio.create_task(work()) for _ in range(width)]
            await _all_or_first_error(workers, asyncio.create_task(self._watch()))

    async def _watch(self) -> None:
        """Raise Stopped when the run was asked to stop, however long the answers take."""
        while not self.stopped():
            await asyncio.sleep(WATCH)
        raise Stopped("asked to stop; committed results stay")

    async def _answer(
        self, request: Request, replicas: Replicas, clients: Mapping[str, AsyncOpenAI]
    ) -> Answer:
        """Ask until there is an answer, it is the row's own fault, or the tries are used up."""
        try:
            body = encoded(self._fixed, request)
        except TypeError:
            why = "the prompt is no valid UTF-8"
            return failed(request.key, "bad_request", why, Failure.ROW)
        tries = 0
        while True:
            replica, begun = await replicas.acquire()
            try:
                with self.in_flight.sent():
                    outcome = await self._ask(request.key, body, replica, clients[replica.url])
            except BaseException:
                replica.limit.failed()
                raise
            trouble = None if isinstance(outcome, Answer) else outcome
            _settle(replicas, replica, begun, trouble)
            if isinstance(outcome, Answer):
                return outcome
            if not outcome.again or tries >= self._config.max_retries:
                return outcome.answer(request.key, self._endpoints[replica.url].shown)
            if not outcome.wait:  # else the replica itself is left alone for that long
                await asyncio.sleep(self._backoff(tries))
            tries += 1

    async def _ask(
        self, key: bytes, body: bytes, replica: Replica, client: AsyncOpenAI
    ) -> Answer | replies.Trouble:
        """Send one request and return its answer or why there is none.

        Raises:
            ConfigError: the key or the model's name is wrong.
        """
        endpoint = self._endpoints[replica.url]
        try:
            async with asyncio.timeout(self._config.timeout):
                reply = await client.post(
                    "/chat/completions", cast_to=httpx2.Response, content=body,
                    options={"headers": {"Content-Type": "application/json"}},
                )  # fmt: skip
            return replies.read_reply(key, reply.content)
        except Exception as error:
            trouble = replies.trouble_of(error, self._key)
        if trouble.status in (401, 403):
            raise endpoint.wrong_key(trouble.status) from None
        if trouble.status == 404:
            raise endpoint.no_model() from None
        return trouble

    def _backoff(self, tries: int) -> float:
        longest: float = min(self._first_wait * 2.0 ** min(tries, 30), LONGEST_WAIT)
        return longest * random.uniform(0.5, 1.0)  # noqa: S311  no secret is drawn

    def _client(self, url: str) -> AsyncOpenAI:
        width = self._config.concurrency
        timeout = Timeout(None, connect=min(CONNECT, self._config.timeout))
        http = DefaultAioHttpClient(
            timeout=timeout,
            limits=httpx2.Limits(max_connections=width, max_keepalive_connections=width),
            trust_env=not are_local([url]),  # no proxy stands before a server of this machine
        )
        return AsyncOpenAI(
            api_key=self._key or NO_KEY, base_url=url, max_retries=0, timeout=timeout,
            default_headers=self._config.default_headers, http_client=http,
        )  # fmt: skip


def _settle(
    replicas: Replicas, replica: Replica, begun: float, trouble: replies.Trouble | None
) -> None:
    """Tell the replica's limit how a request ended, and those that wait that there is room."""
    if trouble is None:
        replica.limit.succeeded(begun)
    elif trouble.overload:
        replica.limit.refused(begun)
    else:
        replica.limit.failed()
    if trouble is not None and trouble.wait:
        replica.limit.leave_alone(trouble.wait)
    if trouble is not None and trouble.unreached:
        replicas.rest(replica)
    replicas.released()


async def _all_or_first_error(
    tasks: Sequence[asyncio.Task[None]], watch: asyncio.Task[None]
) -> None:
    """Wait for all tasks; the first that fails, or the watch, ends the others and is raised."""
    whole = asyncio.ensure_future(asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION))
    try:
        await asyncio.wait([whole, watch], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped = watch.exception() if watch.done() else None
        ended = [task for task in tasks if task.done()]
        for task in (*tasks, watch, whole):
            task.cancel()
        await asyncio.gather(*tasks, watch, whole, return_exceptions=True)
    if stopped is not None:
        raise stopped
    for task in ended:
        task.result()


def _quieten() -> None:
    """Keep a line for every request out of the log, unless someone asked for it."""
    for name in ("httpx", "httpx2", "openai"):
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.WARNING)
