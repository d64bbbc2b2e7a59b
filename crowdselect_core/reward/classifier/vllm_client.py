"""Raw scores of a sequence classifier that a vLLM server runs (`--runner pooling`).

Pairs are rendered and cut here, with the reward model's own tokenizer, and sent as token ids; the
server's sigmoid is switched off, because it presses the scores of good answers together.
"""

import asyncio
import math
from collections.abc import Callable, Iterator
from itertools import islice

import aiohttp

from crowdselect_core.config.engine import VllmEngineConfig
from crowdselect_core.config.reward import ClassifierReward
from crowdselect_core.errors import ConfigError, Stopped
from crowdselect_core.generate.base import Failure, never
from crowdselect_core.generate.openai.refusals import Refusals, Settled
from crowdselect_core.generate.openai.trouble import Trouble
from crowdselect_core.models.loading import load_tokenizer, origin
from crowdselect_core.reward.base import Item, Score, unscored
from crowdselect_core.reward.classifier import adapters
from crowdselect_core.reward.classifier.inputs import (
    TRY,
    Pair,
    PairEncoder,
    last_read,
    set_pad_token,
)
from crowdselect_core.reward.classifier.vllm_request import ClassifyEndpoint

ROWS = 16  # pairs a request
RETRIES = 5
CHECK_SECONDS = 15.0
WATCH = 0.5  # seconds between looks at whether the run is to stop
OF_PAIR = (400, 413, 422, 451)  # statuses that are of one pair
MAY_BE_OF_PAIR = (*OF_PAIR, 403, 404)  # a batch is split to find it


class ServedScorer:
    """The classifier that a vLLM server has loaded."""

    heads: tuple[str, ...] = ("",)

    def __init__(self, config: ClassifierReward, base_url: str, key: str | None = None) -> None:
        """Read the model's config and tokenizer; the server is asked later.

        Args:
            config: of the model that the server runs.
            base_url: the server's, with or without /v1.
            key: of a server that asks for one.

        Raises:
            ConfigError: the model is none with one score, or has no chat template.
        """
        name = config.model
        if not isinstance(config.engine, VllmEngineConfig):
            raise ConfigError(
                f"reward model {config.name!r}: engine kind is {config.engine.kind}, expected vllm"
            )
        model_config = adapters.load_config(
            *origin(name, config.revision, config.trust_remote_code)
        )
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
        tokenizer = load_tokenizer(
            name, config.revision, config.trust_remote_code, whose="reward model"
        )
        self._pad_id = set_pad_token(name, tokenizer, model_config)
        self._encoder = PairEncoder(name, tokenizer, config.max_length)
        self._name = config.name
        self._server = ClassifyEndpoint(config.name, base_url, key)
        self._in_flight = max(1, config.engine.concurrency // ROWS)
        self._timeout = config.engine.timeout
        self.stopped: Callable[[], bool] = never

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
            Stopped: `stopped` said so.
        """
        asyncio.run(self._run(items, done))

    def close(self) -> None:
        """Nothing is held between runs."""

    async def _check(self) -> None:
        pair = self._encoder.encode(TRY)
        if isinstance(pair, Score):
            raise ConfigError(f"reward model {self._name!r}: {pair.error}")
        async with self._server.session(1, CHECK_SECONDS) as session:
            raw = await self._ask(session, [pair], raw=True, retries=0)
            pressed = await self._ask(session, [pair], raw=False, retries=0)
        if isinstance(raw, Trouble):
            raise self._server.not_one(raw)
        if isinstance(pressed, Trouble):
            raise self._server.not_one(pressed)
        if math.isclose(raw[0], pressed[0], abs_tol=1e-4):  # x = sigmoid(x) at 0.659 alone
            raise ConfigError(
                f"reward model {self._name!r}: {self._server.url} gives {raw[0]:.4f} with "
                "use_activation off and on alike, expected raw scores; it needs a vLLM that knows "
                "use_activation in /classify, or engine: {kind: transformers}"
            )

    async def _run(self, items: Iterator[Item], done: Callable[[Score], None]) -> None:
        flying: set[asyncio.Task[list[Score]]] = set()
        more = True
        refusals = Refusals(self._in_flight, self._server.not_one)
        async with self._server.session(self._in_flight, self._timeout) as session:
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
                            flying.add(asyncio.create_task(self._score(session, ready, refusals)))
                    if flying:
                        ended, flying = await asyncio.wait(
                            flying, timeout=WATCH, return_when=asyncio.FIRST_COMPLETED
                        )
                        for score in (score for task in ended for score in task.result()):
                            done(score)
                        if self.stopped():
                            raise Stopped("asked to stop; committed results stay")
            finally:
                for task in flying:
                    task.cancel()
                await asyncio.gather(*flying, return_exceptions=True)
        for score in self._settled(refusals.ended()):
            done(score)

    async def _score(
        self, session: aiohttp.ClientSession, pairs: list[Pair], refusals: Refusals
    ) -> list[Score]:
        """Return the scores of some pairs, and of those that were set aside and are settled."""
        found = await self._ask(session, pairs, raw=True, retries=RETRIES)
        if not isinstance(found, Trouble):
            scores = [_scored(pair, number) for pair, number in zip(pairs, found, strict=True)]
            return scores + self._settled(refusals.answered())
        if len(pairs) > 1 and found.status in MAY_BE_OF_PAIR:
            # One bad row fails a whole request: the others are asked without it.
            middle = len(pairs) // 2
            first = await self._score(session, pairs[:middle], refusals)
            return first + await self._score(session, pairs[middle:], refusals)
        if found.is_set_aside:
            return self._settled([s for p in pairs for s in refusals.refused(p.key, found)])
        own = found.failure is Failure.ROW or found.status in OF_PAIR
        settled = self._settled(refusals.answered()) if own else []
        return settled + [self._unscored(p.key, found, own=own) for p in pairs]

    def _settled(self, settled: Settled) -> list[Score]:
        return [
            self._unscored(key, trouble, own=trouble.failure is Failure.ROW)
            for key, trouble in settled
        ]

    def _unscored(self, key: bytes, trouble: Trouble, *, own: bool) -> Score:
        why = f"{self._server.url}: {trouble.code}: {trouble.words}"
        if own:
            return unscored(key, "rejected", why, Failure.ROW)
        return unscored(key, "server", why, Failure.INFRASTRUCTURE)

    async def _ask(
        self, session: aiohttp.ClientSession, pairs: list[Pair], *, raw: bool, retries: int
    ) -> list[float] | Trouble:
        inputs = [last_read(pair.ids, self._pad_id) for pair in pairs]
        return await self._server.ask(session, inputs, raw=raw, retries=retries)


def _scored(pair: Pair, number: float) -> Score:
    if not math.isfinite(number):
        why = f"the server gave {number}; try dtype float32"
        return unscored(pair.key, "not_finite", why, Failure.ROW)
    return Score(pair.key, (number,), truncated=pair.truncated)
