"""One run of the engine: workers, tries, replicas, and the refusals that are set aside."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import aiohttp

from crowdselect_core.config.engine import OpenAIEngineConfig
from crowdselect_core.generate.base import Answer, Failure, Request, failed
from crowdselect_core.generate.in_flight import InFlight
from crowdselect_core.generate.openai.concurrency import Replica, Replicas
from crowdselect_core.generate.openai.endpoint import Endpoint
from crowdselect_core.generate.openai.prefetch import Lookahead
from crowdselect_core.generate.openai.refusals import FEWEST, Refusals, Settled
from crowdselect_core.generate.openai.request_body import encoded
from crowdselect_core.generate.openai.response import read_reply
from crowdselect_core.generate.openai.trouble import (
    BadReply,
    ReplyError,
    Trouble,
    trouble_of,
    trouble_of_reply,
)
from crowdselect_core.util.http import below
from crowdselect_core.util.retry import backoff

LONGEST_WAIT = 30.0  # seconds before the last retry


class Run:
    """The workers of one run, and the refusals that are set aside.

    Args:
        config: how often and how long a request is tried.
        endpoints: the replicas by URL.
        sessions: a session to each of them.
        fixed: what the body of every request has.
        first_wait: seconds before the first retry.
        in_flight: counts the requests that are on their way.
        done: called with every answer.
    """

    def __init__(
        self,
        config: OpenAIEngineConfig,
        endpoints: Mapping[str, Endpoint],
        sessions: Mapping[str, aiohttp.ClientSession],
        fixed: Mapping[str, Any],
        first_wait: float,
        in_flight: InFlight,
        done: Callable[[Answer], None],
    ) -> None:
        self._config, self._endpoints, self._sessions = config, endpoints, sessions
        self._chat = {url: below(url, "chat/completions") for url in endpoints}
        self._fixed, self._first_wait, self._done = fixed, first_wait, done
        self._in_flight = in_flight
        self._replicas = Replicas(list(endpoints), config.concurrency)
        self._refusals = {
            url: Refusals(config.concurrency, endpoint.refused_all)
            for url, endpoint in endpoints.items()
        }
        self._busy = 0  # workers that have a request
        self._begun = 0  # requests so far
        self._early: set[int] = set()  # of the first ones, those that are on their way
        self._over = False  # after an error no other answer is handed over

    async def work(self, source: Lookahead[Request]) -> None:
        """Answer requests until there are no more."""
        try:
            while (request := await source.next()) is not None:
                try:
                    body = encoded(self._fixed, request, self._config.extra_body)
                except TypeError:
                    why = "the prompt is no valid UTF-8"
                    self._done(failed(request.key, "bad_request", why, Failure.ROW))
                    continue
                outcome, url = await self._answer(request.key, body)
                if self._over:
                    return
                self._settle(request.key, outcome, url)
        except BaseException:
            self._over = True
            raise

    def settle_idle(self) -> None:
        """Settle what is set aside where nothing is on its way: the source may wait for it."""
        for url, refusals in self._refusals.items():
            if refusals.waiting and refusals.answers and not self._busy and not self._over:
                self._hand_over(url, refusals.ended())

    def settle_all(self) -> None:
        """Settle what is set aside when all has been asked.

        Raises:
            ConfigError: an endpoint has answered no call at all.
        """
        for url, refusals in self._refusals.items():
            self._hand_over(url, refusals.ended())

    def _settle(self, key: bytes, outcome: Answer | Trouble, url: str) -> None:
        refusals = self._refusals[url]
        if isinstance(outcome, Trouble) and outcome.is_set_aside:
            settled = refusals.refused(key, outcome, first_ended=not self._early)
            self._hand_over(url, settled)
            return
        if isinstance(outcome, Answer) or outcome.failure is Failure.ROW:
            self._hand_over(url, refusals.answered())
        if isinstance(outcome, Answer):
            self._done(outcome)
        else:
            self._hand_over(url, [(key, outcome)])

    def _hand_over(self, url: str, settled: Settled) -> None:
        for key, trouble in settled:
            self._done(trouble.answer(key, self._endpoints[url].shown))

    async def _answer(self, key: bytes, body: bytes) -> tuple[Answer | Trouble, str]:
        """Return what came of a request in the end, and the replica that gave it."""
        number, self._begun, self._busy = self._begun, self._begun + 1, self._busy + 1
        if number < max(FEWEST, self._config.concurrency):
            self._early.add(number)
        found = await self._asked(key, body)
        self._busy -= 1
        self._early.discard(number)
        return found

    async def _asked(self, key: bytes, body: bytes) -> tuple[Answer | Trouble, str]:
        """Ask until there is an answer, the fault lies in the row, or the tries are used up.

        A refused key is read again; with another one the request is sent once more.
        """
        waits = backoff(self._first_wait, LONGEST_WAIT)
        tries, renewed = 0, False
        while True:
            replica, begun = await self._replicas.acquire()
            api_key = self._endpoints[replica.url].api_key
            used, sent = api_key.value, time.monotonic()
            try:
                with self._in_flight.sent():
                    outcome = await self._ask(key, body, replica.url)
            except BaseException:
                replica.limit.failed()
                raise
            trouble = None if isinstance(outcome, Answer) else outcome
            _release(self._replicas, replica, begun, trouble)
            if trouble is not None and trouble.status == 401 and not renewed:
                renewed = await asyncio.to_thread(api_key.renewed, used, sent)
                if renewed:
                    continue
            if trouble is None or not trouble.again or tries >= self._config.max_retries:
                return outcome, replica.url
            if not trouble.wait:  # else the replica itself is left alone for that long
                await asyncio.sleep(next(waits))
            tries += 1

    async def _ask(self, key: bytes, body: bytes, url: str) -> Answer | Trouble:
        """Send one request and return its answer or why there is none."""
        endpoint = self._endpoints[url]
        api_key = endpoint.api_key.value
        try:
            async with (
                asyncio.timeout(self._config.timeout),
                self._sessions[url].post(
                    self._chat[url], data=body, headers=endpoint.headers
                ) as reply,
            ):
                raw = await reply.read()
            if reply.status >= 300:
                return trouble_of_reply(reply.status, reply.headers, raw, api_key)
            return read_reply(key, raw)
        except (aiohttp.ClientError, OSError, TimeoutError, BadReply, ReplyError) as error:
            return trouble_of(error, api_key)


def _release(replicas: Replicas, replica: Replica, begun: float, trouble: Trouble | None) -> None:
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


async def all_or_first_error(
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
