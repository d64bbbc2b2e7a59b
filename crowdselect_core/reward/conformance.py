"""Does a scorer do what a reward model must: one score for one text, and better answers higher?

Wrong padding, a second BOS or another model's template give scores that look like scores; such a
scorer is found here, on a few dozen short texts, before a long job.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from crowdselect_core.chat import Message
from crowdselect_core.errors import ConfigError
from crowdselect_core.reward.base import Item, Score, Scorer
from crowdselect_core.reward.classifier.inputs import Pair
from crowdselect_core.reward.conformance_probes import MIXED, MIXED_QUESTION, PROBES

TOLERANCE = 1e-4  # in float32, times the score where that is greater than 1
NOISE_SHARE = 0.25  # in bf16 or fp16, of the median deviation between answers to one question
RANKED_SHARE = 0.75  # of the probes whose better answer must score higher


@runtime_checkable
class Inspectable(Protocol):
    """A scorer in this process whose token ids and padding can be looked at."""

    tokenizer: Any
    pad_id: int

    @property
    def model(self) -> Any:
        """The model, with its config."""
        ...

    @property
    def precise(self) -> bool:
        """Whether it computes in float32 or better."""
        ...

    def encode(self, item: Item) -> Pair | Score:
        """Return the token ids of a pair."""
        ...

    def score_ids(self, rows: Sequence[list[int]], *, left: bool = False) -> list[list[float]]:
        """Score pairs in one batch, padded on one side."""
        ...


@dataclass(frozen=True, slots=True)
class Result:
    """One thing that was checked."""

    name: str
    passed: bool
    found: str
    expected: str


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that was checked of one scorer."""

    results: tuple[Result, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return all(result.passed for result in self.results)

    def reasons(self) -> str:
        """Say in one line what failed."""
        failed = (r for r in self.results if not r.passed)
        return "; ".join(f"{r.name}: found {r.found}, expected {r.expected}" for r in failed)


class _Unscored(Exception):
    """The scorer has no score for a probe; says which and why."""


def check_conformance(
    name: str, scorer: Scorer, *, precise: bool | None = None, refuse: bool = True
) -> Report:
    """Check a scorer on texts of our own.

    Every scorer: a score depends neither on the texts beside it nor on their order ('batch'), and
    plainly better answers score higher ('ranking'). One in this process also: 'padding_side',
    'pad_token', 'template' (the token ids are those of its own chat template) and 'bos' (one).

    Args:
        name: the reward model's, for the message.
        scorer: what scores; it is left open.
        precise: whether it computes in float32, where scores must agree within TOLERANCE; else
            they may move by NOISE_SHARE of the usual difference between answers. None asks a
            scorer in this process, and takes any other for imprecise.
        refuse: raise if anything failed; otherwise the caller reads it from the report.

    Raises:
        ConfigError: something failed, with every reason.
    """
    try:
        report = Report(tuple(_results(scorer, precise)))
    except _Unscored as e:
        report = Report((Result("scores", False, str(e), "a score for every probe"),))
    if refuse and not report.passed:
        raise ConfigError(
            f"reward model {name!r} fails the conformance check: {report.reasons()}; correct the "
            "model's files or settings, or set conformance: false to use it all the same"
        )
    return report


def _results(scorer: Scorer, precise: bool | None) -> list[Result]:
    probes = [_item(p.question, text) for p in PROBES for text in (p.better, p.worse)]
    scores = _main(scorer, _numbered(probes))
    gaps = [better - worse for better, worse in zip(scores[::2], scores[1::2], strict=True)]
    if precise is None:
        precise = isinstance(scorer, Inspectable) and scorer.precise
    # The standard deviation of two numbers is half of what lies between them.
    limit = None if precise else NOISE_SHARE * statistics.median(abs(gap) / 2 for gap in gaps)
    mixed = _numbered([_item(MIXED_QUESTION, text) for text in MIXED])
    results = [_batch(scorer, mixed, limit), _ranking(gaps)]
    if isinstance(scorer, Inspectable):
        results += [*_padding(scorer, mixed, limit), *_tokens(scorer, mixed)]
    return results


def _item(question: str, text: str) -> Item:
    return Item(b"", (Message(role="user", content=question),), text)


def _numbered(items: list[Item]) -> list[Item]:
    return [Item(i.to_bytes(16, "big"), item.messages, item.text) for i, item in enumerate(items)]


def _main(scorer: Scorer, items: list[Item]) -> list[float]:
    """Return the main score of every item, in their order."""
    came: dict[bytes, Score] = {}
    scorer.run(iter(items), lambda score: came.update({score.key: score}))
    for item in items:
        score = came.get(item.key)
        if score is None or score.error is not None or not score.scores:
            why = "nothing" if score is None else score.error
            raise _Unscored(f"{why} for the answer {item.text[:40]!r}")
    return [came[item.key].scores[0] for item in items]


def _batch(scorer: Scorer, items: list[Item], limit: float | None) -> Result:
    alone = [_main(scorer, [item])[0] for item in items]
    forth = _main(scorer, items)
    back = _main(scorer, items[::-1])[::-1]
    return _same("batch", "whatever texts are in its batch", [alone, forth, back], limit)


def _padding(scorer: Inspectable, items: list[Item], limit: float | None) -> list[Result]:
    rows = [pair.ids for pair in map(scorer.encode, items) if isinstance(pair, Pair)]
    alone = [scorer.score_ids([row])[0][0] for row in rows]
    right = [scores[0] for scores in scorer.score_ids(rows)]
    left = [scores[0] for scores in scorer.score_ids(rows, left=True)]
    padded = _same("pad_token", "with pad tokens behind it or without", [alone, right], limit)
    known = scorer.model.config.get_text_config().pad_token_id
    if known != scorer.pad_id:
        found = f"pad token {scorer.pad_id}, while the model's config says {known}; {padded.found}"
        padded = Result(padded.name, False, found, padded.expected)
    sides = _same("padding_side", "padded left or right", [alone, right, left], limit)
    return [sides, padded]


def _same(name: str, when: str, runs: list[list[float]], limit: float | None) -> Result:
    """Judge whether several runs gave each text one score; NaN is never the same."""
    spreads = []
    for scores in zip(*runs, strict=True):
        finite = all(map(math.isfinite, scores))
        spread = max(scores) - min(scores) if finite else math.inf
        scale = max(1.0, *(abs(score) for score in scores)) if finite else 1.0
        spreads.append(spread / scale if limit is None else spread)
    most = TOLERANCE if limit is None else limit
    found = f"scores that move by {max(spreads):.2g}"
    return Result(name, max(spreads) <= most, found, f"at most {most:.2g}, {when}")


def _ranking(gaps: list[float]) -> Result:
    right = sum(gap > 0 for gap in gaps)
    needed = math.ceil(RANKED_SHARE * len(gaps))
    found = f"{right} of {len(gaps)} plainly better answers scored higher"
    return Result("ranking", right >= needed, found, f"at least {needed}")


def _tokens(scorer: Inspectable, items: list[Item]) -> list[Result]:
    tokenizer = scorer.tokenizer
    pairs = [scorer.encode(item) for item in items]
    other = doubled = 0
    for item, pair in zip(items, pairs, strict=True):
        ids = pair.ids if isinstance(pair, Pair) else []
        messages = [*item.messages, {"role": "assistant", "content": item.text}]
        own = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False)
        other += ids != list(own)[: len(ids)] or (len(ids) < len(own) and not _cut(pair))
        bos = tokenizer.bos_token_id
        doubled += bos is not None and ids[:2] == [bos, bos]
    count = len(items)
    return [
        Result(
            "template",
            other == 0,
            f"{other} of {count} pairs with other token ids than the tokenizer's chat template",
            "none",
        ),
        Result("bos", doubled == 0, f"{doubled} of {count} pairs that begin with two BOS", "none"),
    ]


def _cut(pair: Pair | Score) -> bool:
    return isinstance(pair, Pair) and pair.truncated
