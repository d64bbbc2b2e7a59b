"""An LLM as a reward model: it grades an answer, or compares it with a reference answer.

Any engine of `generate` runs it. Only the judge's final text is read, never its thinking, and a
verdict that is not there is never made up: the row is unscored.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from threading import get_ident
from typing import Any

from crowdselect_core.chat import Message
from crowdselect_core.config.reward import JudgeReward
from crowdselect_core.errors import ConfigError
from crowdselect_core.generate.base import Answer, Engine, Failure, Request
from crowdselect_core.generate.in_flight import in_flight_of
from crowdselect_core.reward.base import Item, Score, unscored
from crowdselect_core.reward.judge.rubrics import (
    fill,
    read_grade,
    read_verdict,
    rubric_of,
    transcript,
)

MOST_RAW = 4_000  # characters of a judge's words that are kept
POINTS = {"A": 1.0, "B": -1.0, "C": 0.0}  # of side A


@dataclass(slots=True)
class _Pair:
    """An item that is asked twice, and the answers so far: as side A, as side B."""

    item: bytes
    answers: dict[bool, Answer] = field(default_factory=dict)  # by whether the sides are swapped


class JudgeScorer:
    """A judge that gives every item one score.

    grade: the score is the number of the verdict, on the config's scale.
    pairwise: every item is asked twice, as side A and as side B, and the score is the mean over
    both of +1 (the item wins), 0 (tie) and -1 (it loses). An item that equals its reference scores
    exactly 0 and costs no call.

    Unscored for the row's sake: `unparsed_verdict` (no verdict, two in one line, outside the
    scale, cut at max_tokens before it), `no_reference`, and what the engine says of the row. A
    failure of the engine's infrastructure passes through as that, before any other reason.
    """

    heads: tuple[str, ...] = ("",)

    def __init__(self, config: JudgeReward, engine: Engine) -> None:
        """Take an engine that runs the judge with the config's sampling.

        Raises:
            ConfigError: a rubric without its placeholders, or several samples of a verdict.
        """
        if config.sampling.n != 1:
            raise ConfigError(
                f"reward model {config.name!r}: sampling.n is {config.sampling.n}, expected 1: a "
                "judge gives one verdict; name it twice with other seeds for more"
            )
        self._config = config
        self._engine = engine
        self.in_flight = in_flight_of(engine)
        self._rubric = rubric_of(config)

    def check(self) -> None:
        """Ask the engine whether it could answer; raises its UserError."""
        self._engine.check()

    def run(self, items: Iterator[Item], done: Callable[[Score], None]) -> None:
        """Score every item, calling `done` from this thread as scores come.

        Memory: what the engine has in flight; and where an engine takes its requests in another
        thread, the scores that need no call, until its next answer.

        Raises:
            EngineDown: the engine can answer nothing more.
        """
        _Run(self, done).run(items)

    def close(self) -> None:
        """Close the engine, where it has anything to close."""
        close = getattr(self._engine, "close", None)
        if close is not None:
            close()

    def _request(self, item: Item, *, swapped: bool = False) -> Request:
        """Return the question about an item; swapped, the item is side B."""
        first, second = item.text, item.reference or ""
        if swapped:
            first, second = second, first
        text = fill(self._rubric, transcript(item.messages), first, second, self._config.scale)
        key = swapped_key(item.key) if swapped else item.key
        return Request(key, (Message(role="user", content=text),), self._config.sampling.seed)

    def _grade(self, answer: Answer) -> Score:
        """Return the score of an answer to a question in mode grade."""
        if answer.error is not None:
            return Score(answer.key, error=answer.error, failure=answer.failure)
        words = answer.text or ""
        grade = read_grade(words, self._config.scale, cut=answer.finish_reason == "length")
        if grade is None:
            least, greatest = self._config.scale
            form = f"a last line 'Rating: [[number]]' from {least:g} to {greatest:g}"
            return _unparsed(answer.key, form, [answer], words[:MOST_RAW])
        return Score(answer.key, (grade,), raw=words[:MOST_RAW])


class _Run:
    """One pass over the items: what is in flight, and what waits to be handed over."""

    def __init__(self, judge: JudgeScorer, done: Callable[[Score], None]) -> None:
        self._judge = judge
        self._done = done
        self._thread = get_ident()
        self._pairs: dict[bytes, _Pair] = {}  # in flight, under both keys of each
        self._ready: deque[Score] = deque()  # scores that needed no call

    def run(self, items: Iterator[Item]) -> None:
        """Ask the engine about every item."""
        pairwise = self._judge._config.mode == "pairwise"
        requests = self._both(items) if pairwise else map(self._judge._request, items)
        self._judge._engine.run(requests, self._compared if pairwise else self._graded)
        self._hand_over()

    def _graded(self, answer: Answer) -> None:
        self._done(self._judge._grade(answer))

    def _both(self, items: Iterator[Item]) -> Iterator[Request]:
        """Yield both questions of every item, and score those that need none."""
        for item in items:
            if item.reference is None or item.reference == item.text:
                self._ready.append(_without_call(item))
                if get_ident() == self._thread:  # the engine may take requests in another one
                    self._hand_over()
                continue
            questions = [self._judge._request(item, swapped=swapped) for swapped in (False, True)]
            pair = _Pair(item.key)
            self._pairs.update((question.key, pair) for question in questions)
            yield from questions

    def _compared(self, answer: Answer) -> None:
        """Keep an answer until both are there, then score the pair."""
        self._hand_over()
        pair = self._pairs.pop(answer.key)
        pair.answers[answer.key != pair.item] = answer
        if len(pair.answers) == 2:
            self._done(_compare(pair))

    def _hand_over(self) -> None:
        while self._ready:
            self._done(self._ready.popleft())


def swapped_key(key: bytes) -> bytes:
    """Return the key of the question with the sides swapped: 16 bytes of a sha256."""
    return hashlib.sha256(b"swapped\0" + key).digest()[:16]


def judge_identity(config: JudgeReward) -> dict[str, Any]:
    """Return what changes a verdict, as JSON values.

    Mode, the whole rubric before it is filled in, scale, sampling (without n) and what the chat
    template is given. Not here, and to be added by the caller: the judge's weights, and in mode
    pairwise whose answers the references are.

    Raises:
        ConfigError: as `JudgeScorer`, a rubric without its placeholders.
    """
    return {
        "mode": config.mode,
        "rubric": rubric_of(config),
        "scale": list(config.scale),
        "sampling": config.sampling.model_dump(mode="json", exclude={"n"}),
        "chat_template_kwargs": dict(config.chat_template_kwargs),
    }


def _without_call(item: Item) -> Score:
    """Score an item that equals its reference, or has none."""
    if item.reference is None:
        why = "the reference model has no answer to compare with"
        return unscored(item.key, "no_reference", why, Failure.ROW)
    return Score(item.key, (0.0,))


def _compare(pair: _Pair) -> Score:
    """Return the mean of both orders, or why there is none."""
    both = [pair.answers[False], pair.answers[True]]
    broken = [answer for answer in both if answer.error is not None]
    # what may pass comes first: asked again, the row may still be scored
    broken.sort(key=lambda answer: answer.failure != Failure.INFRASTRUCTURE)
    if broken:
        return Score(pair.item, error=broken[0].error, failure=broken[0].failure)
    titles = ("[as A]\n", "\n\n[as B]\n")
    share = (MOST_RAW - sum(map(len, titles))) // 2
    raw = "".join(t + (a.text or "")[:share] for t, a in zip(titles, both, strict=True))
    verdicts = [read_verdict(a.text or "", cut=a.finish_reason == "length") for a in both]
    as_a, as_b = verdicts
    if as_a is None or as_b is None:
        unread = [a for a, verdict in zip(both, verdicts, strict=True) if verdict is None]
        return _unparsed(pair.item, "a last line '[[A]]', '[[B]]' or '[[C]]'", unread, raw)
    return Score(pair.item, ((POINTS[as_a] - POINTS[as_b]) / 2,), raw=raw)


def _unparsed(key: bytes, form: str, unread: list[Answer], raw: str) -> Score:
    """Return an unscored row that keeps the judge's words."""
    cut = any(answer.finish_reason == "length" for answer in unread)
    remedy = "; it was cut, raise the judge's sampling.max_tokens" if cut else ""
    return unscored(key, "unparsed_verdict", f"expected {form}{remedy}", Failure.ROW, raw)
