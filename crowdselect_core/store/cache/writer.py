"""Committing cells as they come: what is older than a second is on the disk or in the bucket.

While the disk or the bucket does not take them, no more are made than those of a few seconds.
"""

import time
from collections.abc import Callable
from threading import Condition, Thread
from types import TracebackType
from typing import Any, Self

from crowdselect_core.store.cache.call_cache import CallCache

SECONDS = 1.0  # the most that a kill loses, beside what is in flight
ROWS = 20_000  # waiting rows that are committed without waiting for the second
STALLED = 5.0  # seconds of one commit after which whoever makes rows waits for it


class CacheWriter:
    """A thread that commits rows once a second.

    `add` only appends to a list, so that whoever makes the rows never waits for a disk; it waits
    when the disk falls behind by more than ROWS rows, or a commit takes more than STALLED seconds:
    answers that cannot be kept would be paid for twice.

    Args:
        cells: where they go.
        committed: called with rows that are on the disk now.
    """

    def __init__(
        self, cells: CallCache, committed: Callable[[list[tuple[Any, ...]]], None] | None = None
    ) -> None:
        self._cells, self._committed = cells, committed
        self._rows: list[tuple[Any, ...]] = []
        self._changed = Condition()
        self._ended = False
        self._since: float | None = None  # when the commit that is going on began
        self._error: BaseException | None = None
        self._thread = Thread(target=self._work, name="cells", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Commit what is left, however the block ended."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._thread.join()
        if error is None and self._error is not None:
            raise self._error

    def add(self, row: tuple[Any, ...]) -> None:
        """Hand over one row, its key first.

        Raises:
            StorageError: an earlier commit failed; nothing more is taken.
        """
        with self._changed:
            while (len(self._rows) >= ROWS or self._stalled()) and self._error is None:
                self._changed.wait()
            if self._error is not None:
                raise self._error
            self._rows.append(row)
            if len(self._rows) >= ROWS:
                self._changed.notify_all()

    def _stalled(self) -> bool:
        return self._since is not None and time.monotonic() - self._since > STALLED

    def _work(self) -> None:
        try:
            self._cells.open()
            while True:
                with self._changed:
                    full = len(self._rows) >= ROWS
                    if not self._ended and not full:
                        self._changed.wait(SECONDS)
                    rows, self._rows = self._rows, []
                    self._changed.notify_all()
                    ended = self._ended
                if rows:
                    self._since = time.monotonic()
                    self._cells.commit(rows)
                    with self._changed:
                        self._since = None
                        self._changed.notify_all()
                    if self._committed is not None:
                        self._committed(rows)
                    self._cells.merge()
                if ended and not self._rows:
                    return
        except BaseException as e:  # told to whoever adds the next row, or ends the block
            with self._changed:
                self._error = e
                self._changed.notify_all()
