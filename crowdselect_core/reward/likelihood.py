"""Pointwise mutual information of an answer and its instruction, under a causal language model."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from threading import Lock
from typing import Any

from crowdselect_core.chat import Message
from crowdselect_core.config.reward import LikelihoodReward
from crowdselect_core.generate.base import EngineDown, Failure
from crowdselect_core.models.causal_lm import OutOfMemory, Source
from crowdselect_core.models.chat_templates import TemplateError, padding_id, prompt_ids, text_ids
from crowdselect_core.models.logprobs import context, sequence_logprobs
from crowdselect_core.reward.base import Item, Score, unscored

DECIMALS = 5  # of a score: equal answers to one instruction should tie in spite of float noise
WINDOW = 256  # items that are tokenised and sorted by length together
UNASKED = Message(role="user", content="")


class LikelihoodScorer:
    """How much likelier the instruction makes the answer, in nats per token.

        pmi = 1/N * sum over n of [ log p(a_n | prompt, a_<n) - log p(a_n | empty prompt, a_<n) ]

    a_1 .. a_N are the tokens of the answer's text; the marker that ends the turn is not counted.
    The prompt is the conversation under the chat template (the plain format where there is none);
    the empty prompt is its system messages and one empty user turn. Higher means an answer that
    owes more to its instruction, not a right one. An answer whose prompt and text pass
    `max_length` (or the model's positions) is cut at the end, on both sides alike, and told as
    truncated. Rounded to 5 decimals: in float32 the batch moves a score by about 1e-6.
    """

    heads: tuple[str, ...] = ("",)

    def __init__(self, config: LikelihoodReward) -> None:
        """Keep the config; the model is loaded by the first `run`.

        Raises:
            ConfigError: no model is named.
        """
        self._config = config
        self._source = Source.of(f"reward model {config.name!r}", config, config.revision)
        self._lock = Lock()
        self._loaded: tuple[Any, Any] | None = None

    def check(self) -> None:
        """Check that the model has a config and a tokenizer, without loading weights."""
        self._source.config()
        self._source.tokenizer()

    def run(self, items: Iterator[Item], done: Callable[[Score], None]) -> None:
        """Score every item, in windows that are sorted by length.

        Raises:
            EngineDown: one pair alone does not fit in the device's memory.
        """
        while window := list(islice(items, WINDOW)):
            for score in self._window(window):
                done(score)

    def close(self) -> None:
        """Free the model; a later `run` loads it again."""
        with self._lock:
            self._loaded = None

    def _load(self) -> tuple[Any, Any]:
        with self._lock:
            if self._loaded is None:
                self._loaded = self._source.load(), self._source.tokenizer()
            return self._loaded

    def _window(self, window: Sequence[Item]) -> Iterator[Score]:
        model, tokenizer = self._load()
        limit = context(model, self._config.max_length)
        cut: list[tuple[Item, _Pair]] = []
        for item in window:
            pair = _pair(tokenizer, item, limit)
            if isinstance(pair, Score):
                yield pair
            else:
                cut.append((item, pair))
        numbers = self._pmi(model, padding_id(tokenizer), [pair for _, pair in cut])
        for (item, pair), pmi in zip(cut, numbers, strict=True):
            if math.isfinite(pmi):
                yield Score(item.key, (pmi,), truncated=pair.truncated)
            else:
                why = f"the model gives {pmi}; set dtype: float32 or bfloat16"
                yield unscored(item.key, "not_finite", why, Failure.ROW)

    def _pmi(self, model: Any, pad_id: int, pairs: Sequence["_Pair"]) -> list[float]:
        answers = [pair.answer for pair in pairs]
        options = {"pad_id": pad_id, "batch_tokens": self._config.batch_tokens}
        try:
            asked = sequence_logprobs(model, [p.asked for p in pairs], answers, **options)
            unasked = sequence_logprobs(model, [p.unasked for p in pairs], answers, **options)
        except OutOfMemory:
            raise EngineDown(
                f"reward model {self._config.name!r} has no memory for one pair alone: lower "
                "max_length, set dtype: bfloat16, or name another device"
            ) from None
        return [round(a.mean - u.mean, DECIMALS) for a, u in zip(asked, unasked, strict=True)]


class _Pair:
    """Token ids of one item."""

    __slots__ = ("answer", "asked", "truncated", "unasked")

    def __init__(self, asked: list[int], unasked: list[int], answer: list[int], room: int) -> None:
        self.asked = asked
        self.unasked = unasked
        self.answer = answer[:room]
        self.truncated = len(answer) > room


def _pair(tokenizer: Any, item: Item, limit: int) -> _Pair | Score:
    """Tokenise an item, or say why it has no score."""
    system = [message for message in item.messages if message["role"] == "system"]
    try:
        asked = prompt_ids(tokenizer, item.messages, {})
        unasked = prompt_ids(tokenizer, [*system, UNASKED], {})
    except TemplateError as e:
        return unscored(item.key, "template", str(e), Failure.ROW)
    answer = text_ids(tokenizer, item.text)
    if not answer:
        return unscored(item.key, "empty_answer", "the answer has no token", Failure.ROW)
    room = limit - max(len(asked), len(unasked))
    if room < 1:
        why = f"{len(asked)} tokens, and max_length {limit} leaves none for the answer"
        return unscored(item.key, "prompt_too_long", why, Failure.ROW)
    return _Pair(asked, unasked, answer, room)
