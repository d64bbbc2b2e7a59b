"""Counting the calls of one model: how far it is, and when too many have failed."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from crowdselect_core.generate.base import Failure
from crowdselect_core.generate.in_flight import InFlight


class Keyed(Protocol):
    """A request or an item that is to be scored."""

    @property
    def key(self) -> bytes:
        """Names it; its answer bears the same."""


T = TypeVar("T", bound=Keyed)

EARLY = 20  # failures before a run is stopped ahead of its end
IN_A_ROW = 50  # failures without one success between them: it is down
WAITING_SECONDS = 10.0  # without an answer, after which a run counts as waiting
WAITING_ANSWERS = 5.0  # or so many times the mean time between two answers, if that is more


class TooManyFailures(RuntimeError):
    """More of a model's calls failed than `max_failure_rate` allows; the answers stay stored."""


@dataclass
class CallTracker:
    """The calls of one model in one run.

    Args:
        name: the model's, for messages.
        planned: calls that this run has to make.
        cached: answers that the store already has.
        limit: share of the model's answers, the cached ones included, whose calls may fail for
            reasons outside the row.
        report: called at every call's end; shows the progress, and may raise to stop the run.
        in_flight: the engine's requests in flight; None where it does not report them.
    """

    name: str
    planned: int
    cached: int
    limit: float
    report: Callable[["CallTracker"], None]
    in_flight: InFlight | None = None
    answered: int = 0
    failed: dict[bytes, str] = field(default_factory=dict)  # cell -> error, outside the row
    codes: Counter[str] = field(default_factory=Counter)  # every error by its short code
    prompt_tokens: int = 0
    completion_tokens: int = 0
    started: float = field(default_factory=lambda: time.monotonic())
    slowest: float = 0.0  # seconds from when work was handed over to when its answer came
    _in_a_row: int = 0
    _last: float = field(default_factory=lambda: time.monotonic())  # when the last call ended
    _out: dict[bytes, float] = field(default_factory=dict)  # what is out, since when

    @property
    def done(self) -> int:
        """Calls that have come to an end."""
        return self.answered + len(self.failed)

    @property
    def seconds(self) -> float:
        """Since the clock started: with the run, then with its second call."""
        return max(time.monotonic() - self.started, 1e-9)

    @property
    def rate(self) -> float:
        """Completion tokens a second."""
        return self.completion_tokens / self.seconds

    @property
    def idle(self) -> float:
        """Seconds since the last call ended, or since the first one was handed over."""
        return max(time.monotonic() - self._last, 0.0)

    @property
    def is_waiting(self) -> bool:
        """Whether the pace so far says nothing about the rest.

        So before the first answer, when no answer came for long, and when all that is left is in
        flight and has been for longer than any answer before.
        """
        if self.done >= self.planned:
            return False
        if not self.done:
            return True
        mean = max(self._last - self.started, 0.0) / self.done  # without the silence since then
        if self.idle > max(WAITING_SECONDS, WAITING_ANSWERS * mean):
            return True
        flight = self.in_flight
        if flight is None or flight.count < self.planned - self.done:
            return False
        return (flight.oldest or 0.0) > max(self.slowest, 1.0)

    @property
    def left(self) -> float | None:
        """Seconds that the rest will take at this pace; None where that is not known."""
        if self.is_waiting or not self.done:
            return None
        return self.seconds / self.done * (self.planned - self.done)

    def timed(self, work: Iterable[T]) -> Iterator[T]:
        """Hand over the work; the clock starts with the second piece.

        An engine takes the first one to see that there is work, and more once its model is ready.
        """
        for place, piece in enumerate(work):
            now = time.monotonic()
            if place == 1:
                self.started = now
            if not self._out:
                self._last = now
            self._out[piece.key] = now
            yield piece

    def finished(self, key: bytes) -> None:
        """Take note that a call came to its end, before it is counted as a success or failure."""
        self._last = time.monotonic()
        self.slowest = max(self.slowest, self._last - self._out.pop(key, self._last))
        self.failed.pop(key, None)  # the same on another row may have failed before

    def success(
        self, prompt_tokens: int | None = None, completion_tokens: int | None = None
    ) -> None:
        """Count a call that was answered."""
        self.answered += 1
        self._in_a_row = 0
        self.prompt_tokens += prompt_tokens or 0
        self.completion_tokens += completion_tokens or 0
        self.report(self)

    def failure(self, key: bytes, error: str, whose: Failure | None) -> None:
        """Count a call that failed.

        Raises:
            TooManyFailures: far more than may fail, or nothing succeeds any more.
        """
        self.codes[error.partition(":")[0]] += 1
        if whose is Failure.ROW:
            self.answered += 1  # an answer about the row: it is stored
            self._in_a_row = 0
        else:
            self.failed[key] = error
            self._in_a_row += 1
            down = self._in_a_row >= IN_A_ROW and not self._may_all_fail
            if down or (len(self.failed) >= EARLY and self.breached):
                raise TooManyFailures(self.complaint())
        self.report(self)

    def add(self, answered: int, codes: Mapping[str, int], failed: Mapping[bytes, str]) -> None:
        """Count calls that another process made.

        Args:
            answered: those that were answered, errors of a row among them.
            codes: every error by its short code.
            failed: the others, by cell.

        Raises:
            TooManyFailures: far more than may fail.
        """
        self._last = time.monotonic()
        self.answered += answered
        self.codes.update(codes)
        self.failed.update(failed)
        if len(self.failed) >= EARLY:
            self.check_failures()
        self.report(self)

    @property
    def _may_all_fail(self) -> bool:
        """Whether this run asks so little of the model that all of it may be missing.

        So where it repeats calls that have failed before: that they fail again says nothing of
        the engine. A limit of 1 says that somebody else decides, and an engine may be down.
        """
        return self.limit < 1 and self.planned <= self.limit * (self.planned + self.cached)

    @property
    def breached(self) -> bool:
        """Whether more cells of the model failed than may, however the rest goes.

        The cached ones count: what matters is the share that a selection would lack. A resumed
        run asks the failed cells alone, and where some fail for ever it would never come to its
        end by its own calls.
        """
        return len(self.failed) > self.limit * (self.planned + self.cached)

    def check_failures(self) -> None:
        """Refuse a run of which more calls failed than may.

        Raises:
            TooManyFailures: so it is.
        """
        if self.breached:
            raise TooManyFailures(self.complaint())

    def complaint(self) -> str:
        """Say how many failed, of what, and what to do."""
        last = next(reversed(self.failed.values()), "")
        whole = f" of {self.planned + self.cached:,}, cached ones included" if self.cached else ""
        return (
            f"{self.name}: {len(self.failed):,} of {self.planned:,} calls failed "
            f"(max_failure_rate {self.limit:g}{whole}; the last error: {last}); all other "
            "answers are stored: fix the cause and run again, only the failed calls are repeated"
        )
