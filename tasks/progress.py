"""Progress of one model's calls: a bar or a line on the console, an artifact in the Prefect UI.

A thread of its own reads the counts, so that the calls never wait for a server. The longer a model
takes, the rarer the lines: the log of two days has about 3,000 of one model, and not 35,000. Its
artifact is one row that is updated as often; it has no versions.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from threading import Event, Thread
from types import TracebackType
from typing import Self
from uuid import UUID

import httpx
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.exceptions import PrefectException

from crowdselect_core.generate.call_tracker import CallTracker
from crowdselect_core.report.text import LONG, markdown_text
from tasks import cancellation, terminal

log = logging.getLogger("crowdselect")

LINE_SECONDS, MOST_SECONDS = 5.0, 60.0  # between two lines, at first and after hours
SHARE = 0.01  # of the time a model has taken, that passes until the next line
IS_PROGRESS = {"is_progress": True}  # marks log records that a bar shows as well


class CallProgress:
    """Shows the calls of one model while the block runs."""

    def __init__(self, stage: str, key: str) -> None:
        self._stage, self._key = stage, key
        self._calls: CallTracker | None = None
        self._artifact: UUID | None = None
        self._ended = Event()

    def __enter__(self) -> Self:
        # The thread creates its artifact as the task's, whose run is in the context.
        self._thread = Thread(target=copy_context().run, args=(self._work,), name="progress")
        self._thread.daemon = True
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join(timeout=10)

    def __call__(self, calls: CallTracker) -> None:
        """Take note of the counts; raises Stopped when the run is to end."""
        self._calls = calls
        cancellation.check()

    def view(self) -> terminal.Progress:
        """Return what the model's bar shows now."""
        if self._calls is None:
            return terminal.Progress(0, None, "waiting for the first answer")
        return terminal.Progress(self._calls.done, self._calls.planned, words(self._calls))

    def _work(self) -> None:
        started = time.monotonic()
        while not self._ended.wait(pause(time.monotonic() - started)):
            if self._calls is not None and self._calls.planned:
                log.info("%-13s %s", self._stage, line(self._calls), extra=IS_PROGRESS)
                self._update(self._calls)
        if self._calls is not None and self._calls.planned:
            self._update(self._calls)

    def _update(self, calls: CallTracker) -> None:
        percent = 100.0 * calls.done / max(calls.planned, 1)
        text = markdown_text(line(calls), LONG)  # the UI shows it as Markdown
        try:
            if self._artifact is None:
                created = create_progress_artifact(
                    progress=percent, key=self._key, description=text
                )
                self._artifact = created if isinstance(created, UUID) else None
            else:
                update_progress_artifact(self._artifact, progress=percent, description=text)
        except (httpx.HTTPError, PrefectException) as e:
            log.debug("the Prefect server did not store the progress (%s); the run continues", e)


def pause(seconds: float) -> float:
    """Return the seconds until the next line of a model that has taken some."""
    return min(max(LINE_SECONDS, SHARE * seconds), MOST_SECONDS)


def line(calls: CallTracker) -> str:
    """Say how far a model is: done of planned, then `words`."""
    head = f"{calls.name}: {calls.done:,} of {calls.planned:,}"
    more = words(calls)
    return f"{head}, {more}" if more else head


def words(calls: CallTracker) -> str:
    """Say what was cached, tokens/s, failures, and the time left or what is waited for."""
    parts: list[str] = []
    if calls.cached:
        parts.append(f"{calls.cached:,} cached")
    if calls.is_waiting:
        parts.append(waiting(calls))
    elif calls.completion_tokens:
        parts.append(f"{calls.rate:,.0f} tokens/s")
    if calls.codes:
        parts.append(", ".join(f"{n:,} {code}" for code, n in sorted(calls.codes.items())))
    if left := calls.left:
        parts.append(f"about {max(left, 1):,.0f} s left")
    return ", ".join(parts)


def waiting(calls: CallTracker) -> str:
    """Say what a run waits for: requests in flight, the age of the oldest, its timeout."""
    flight = calls.in_flight
    oldest = flight.oldest if flight is not None else None
    if flight is None or oldest is None:
        retry = "" if flight is None else ", none in flight"
        return f"waiting: no answer for {calls.idle:,.0f} s{retry}"
    limit = "" if flight.timeout is None else f", timeout {flight.timeout:,.0f} s"
    count = flight.count
    requests = f"{count:,} request{'' if count == 1 else 's'} in flight"
    return f"waiting: {requests}, oldest {oldest:,.0f} s{limit}"


@contextmanager
def shown(stage: str, name: str) -> Iterator[CallProgress]:
    """Show the calls of one model; its name becomes the artifact's key."""
    key = "".join(c if c.isascii() and c.isalnum() else "-" for c in name.lower()).strip("-")
    with (
        CallProgress(stage, f"{stage}-{key or 'model'}") as progress,
        terminal.bar(f"{stage} {name}", progress.view),
    ):
        yield progress
