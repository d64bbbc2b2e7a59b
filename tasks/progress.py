"""How far a model is: a line on the console, and a progress artifact in the Prefect UI.

A thread of its own looks at the counts, so that the calls never wait for a server.
"""

import html
import logging
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
from tasks import cancellation

log = logging.getLogger("crowdselect")

LINE_SECONDS = 5.0  # between two looks at the counts


class CallsShown:
    """Shows the calls of one model while the block runs."""

    def __init__(self, stage: str, key: str) -> None:
        self._stage, self._key = stage, key
        self._calls: CallTracker | None = None
        self._artifact: UUID | None = None
        self._ended = Event()

    def __enter__(self) -> Self:
        # The thread shows its artifact as the task's, which it learns from the context.
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

    def _work(self) -> None:
        while not self._ended.wait(LINE_SECONDS):
            if self._calls is not None and self._calls.planned:
                log.info("%-13s %s", self._stage, line(self._calls))
                self._show(self._calls)
        if self._calls is not None and self._calls.planned:
            self._show(self._calls)

    def _show(self, calls: CallTracker) -> None:
        percent = 100.0 * calls.done / max(calls.planned, 1)
        words = html.escape(line(calls))
        try:
            if self._artifact is None:
                made = create_progress_artifact(progress=percent, key=self._key, description=words)
                self._artifact = made if isinstance(made, UUID) else None
            else:
                update_progress_artifact(self._artifact, progress=percent, description=words)
        except (httpx.HTTPError, PrefectException) as e:
            log.debug("the server took no progress (%s); the work goes on", e)


def line(calls: CallTracker) -> str:
    """Say how far a model is: done of planned, what was there, tokens/s, failures, time left."""
    words = [f"{calls.name}: {calls.done:,} of {calls.planned:,}"]
    if calls.cached:
        words.append(f"{calls.cached:,} were there")
    if calls.completion_tokens:
        words.append(f"{calls.rate:,.0f} tokens/s")
    if calls.codes:
        words.append(", ".join(f"{n:,} {code}" for code, n in sorted(calls.codes.items())))
    if calls.left is not None:
        words.append(f"about {calls.left:,.0f} s left")
    return ", ".join(words)


@contextmanager
def shown(stage: str, name: str) -> Iterator[CallsShown]:
    """Show the calls of one model; its name becomes the artifact's key."""
    plain = "".join(c if c.isascii() and c.isalnum() else "-" for c in name.lower()).strip("-")
    with CallsShown(stage, f"{stage}-{plain or 'model'}") as shows:
        yield shows
