"""Raw scores of a sequence classifier that a vLLM server runs (`--runner pooling`).

Pairs are rendered and cut here, with the reward model's own tokenizer, and sent as token ids; the
server's sigmoid is switched off, because it presses the scores of good answers together.
"""

import asyncio
import math
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import aiohttp

from crowdselect_core.config.engine import VllmEngineConfig
from crowdselect_core.config.reward import ClassifierReward
from crowdselect_core.errors import ConfigError, UserError, first_line
from crowdselect_core.generate.base import Failure
from crowdselect_core.models.hub import hub_commit, local_folder
from crowdselect_core.reward.base import Item, Score, unscored
from crowdselect_core.reward.classifier import adapters
from crowdselect_core.reward.classifier.inputs import (
    TRY,
    Pair,
    PairEncoder,
    last_read,
    load_tokenizer,
    set_pad_token,
)

ROWS = 16  # pairs a request
RETRIES = 5
FIRST_WAIT = 0.5  # seconds before the first retry; twice as long before each next one
CHECK_SECONDS = 15.0
MAY_PASS = (429, 500, 502, 503, 504)


class Unreachable(RuntimeError):
    """A request came to nothing after all retries; says why."""


class ServedScorer:
    """The classifier that a vLLM server has loaded."""

    heads: tuple[str, ...] = ("",)

    def __init__(self, config: ClassifierReward, base_url: str) -> None:
        """Read the model's config and tokenizer; the server is asked later.

        Args:
            config: of the model that the server runs.
            base_url: the server's, with or without /v1.

        Raises:
            ConfigError: the model is none with one score, or has no chat template.
        """
        name = config.model
        if not isinstance(config.engine, VllmEngineConfig):
            raise ConfigError(
                f"reward model {config.name!r}: engine kind is {config.engine.kind}, expected vllm"
            )
        folder = local_folder(name)
        place = str(folder or name)
        options: dict[str, Any] = {
            "revision": None if folder else hub_commit(name, config.revision),
            "trust_remote_code": config.trust_remote_code,
            "local_files_only": folder is not None,
        }
        model_config = adapters.load_config(place, options)
        adapter = adapters.adapter_of(
            name, model_config, trust_remote_code=config.trust_remote_code
        )
        if adapter.own_code:
            raise ConfigError(
                f"reward model {name!r} has code and heads of its own, which vLLM does not serve: "
                "set engine: {kind: transformers}"
            )
        known = adapter.heads(name, model_config)
        self.heads = adapters.kept_heads(name, known, config.heads)
        tokenizer = load_tokenizer(place, options)
        self._pad_id = set_pad_token(name, tokenizer, model_config)
        self._encoder = PairEncoder(name, tokenizer, config.max_length)
        self._name = config.name
        self._url = base_url.rstrip("/").removesuffix("/v1") + "/classify"
        self._in_flight = max(1, config.engine.concurrency // ROWS)
        self._timeout = config.engine.timeout

    def check(self) -> None:
        """Ask the server for one score, raw and not.

        Raises:
            ConfigError: it cannot be reached, refuses, or does not give raw scores.
        """
        asyncio.run(self._check())

    def run(self, items: Iterator[Item], done: Callable[[Score], None]) -> None:
        """Score every item; see `base.Scorer`.

        Raises:
            ConfigError: the server refuses the requests as such (a wrong path, no permission).
        """
        asyncio.run(self._run(items, done))

    def close(self) -> None:
        """Nothing is held between runs."""

    async def _check(self) -> None:
        pair = self._encoder.encode(TRY)
        if isinstance(pair, Score):
            raise ConfigError(f"reward model {self._name!r}: {pair.error}")
        async with self._session(CHECK_SECONDS) as session:
            try:
                raw = await self._ask(session, [pair], raw=True, retries=0)
                pressed = await self._ask(session, [pair], raw=False, retries=0)
            except Unreachable as e:
                raise ConfigError(
                    f"reward model {self._name!r}: {e}; is a vLLM server with --runner pooling up?"
                ) from None
        if math.isclose(raw[0], pressed[0], abs_tol=1e-4):  # x = sigmoid(x) at 0.659 alone
            raise ConfigError(
                f"reward model {self._name!r}: {self._url} gives {raw[0]:.4f} with use_activation "
                "off and on alike, expected raw scores; it needs a vLLM that knows use_activation "
                "in /classify, or engine: {kind: transformers}"
            )

    async def _run(self, items: Iterator[Item], done: Callable[[Score], None]) -> None:
        flying: set[asyncio.Task[list[Score]]] = set()
        more = True
        async with self._session(self._timeout) as session:
            try:
                while more or flying:
                    while more and len(flying) < self._in_flight:
                        batch = list(islice(items, ROWS))
                        more = len(batch) == ROWS
                        pairs = [self._encoder.encode(item) for item in batch]
                        for failed in (pair for pair in pairs if isinstance(pair, Score)):
                            done(failed)
                        ready = [pair for pair in pairs if isinstance(pair, Pair)]
                        if ready:
                            flying.add(asyncio.create_task(self._score(session, ready)))
                    if flying:
                        ended, flying = await asyncio.wait(
                            flying, return_when=asyncio.FIRST_COMPLETED
                        )
                        for score in (score for task in ended for score in task.result()):
                            done(score)
            finally:
                for task in flying:
                    task.cancel()
                await asyncio.gather(*flying, return_exceptions=True)

    async def _score(self, session: aiohttp.ClientSession, pairs: list[Pair]) -> list[Score]:
        try:
            numbers = await self._ask(session, pairs, raw=True, retries=RETRIES)
        except Unreachable as e:
            return [unscored(p.key, "server", str(e), Failure.INFRASTRUCTURE) for p in pairs]
        except _Refused as e:
            if len(pairs) == 1:
                return [unscored(pairs[0].key, "rejected", str(e), Failure.ROW)]
            # One bad row fails a whole request: the others are asked without it.
            middle = len(pairs) // 2
            first = await self._score(session, pairs[:middle])
            return first + await self._score(session, pairs[middle:])
        return [_scored(pair, number) for pair, number in zip(pairs, numbers, strict=True)]

    async def _ask(
        self, session: aiohttp.ClientSession, pairs: list[Pair], *, raw: bool, retries: int
    ) -> list[float]:
        """Return one number a pair, in their order."""
        body = {
            "input": [last_read(pair.ids, self._pad_id) for pair in pairs],
            "use_activation": not raw,
        }
        wait = FIRST_WAIT
        for tries_left in range(retries, -1, -1):
            try:
                async with session.post(self._url, json=body) as response:
                    if response.status == 200:
                        return self._numbers(await response.json(), len(pairs))
                    why = f"status {response.status}: {(await response.text())[:200]!r}"
                    self._raise_final(response.status, why)
            except (aiohttp.ClientError, TimeoutError) as e:
                why = f"no answer: {first_line(e)}"
            if tries_left:
                await asyncio.sleep(wait)
                wait *= 2
        raise Unreachable(f"{self._url} after {retries + 1} tries: {why}")

    def _raise_final(self, status: int, why: str) -> None:
        """Raise what a retry cannot mend."""
        if status in MAY_PASS:
            return
        if status in (400, 413, 422):
            raise _Refused(why)
        raise ConfigError(
            f"reward model {self._name!r}: {self._url} answers {why}; expected a vLLM server "
            "started with --runner pooling that needs no key"
        )

    def _numbers(self, reply: Any, count: int) -> list[float]:
        data = reply.get("data") if isinstance(reply, dict) else None
        try:
            rows = sorted(data or [], key=lambda row: row["index"])
            numbers = [[math.nan if x is None else float(x) for x in r["probs"]] for r in rows]
        except (KeyError, TypeError, ValueError):
            numbers = []
        if len(numbers) != count or any(len(row) != 1 for row in numbers):
            raise ConfigError(
                f"reward model {self._name!r}: {self._url} answers in another form, expected one "
                f"number for each of {count} pairs in data[].probs, as vLLM's /classify gives it"
            )
        return [row[0] for row in numbers]

    def _session(self, seconds: float) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=seconds))


class _Refused(UserError):
    """The server will not take these pairs."""


def _scored(pair: Pair, number: float) -> Score:
    if not math.isfinite(number):
        why = f"the server gave {number}; try dtype float32"
        return unscored(pair.key, "not_finite", why, Failure.ROW)
    return Score(pair.key, (number,), truncated=pair.truncated)
