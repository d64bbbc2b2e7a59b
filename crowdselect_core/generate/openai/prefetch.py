"""A blocking iterator read on a thread of its own, never further ahead than a stated bound."""

import asyncio
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Generic, Self, TypeVar

T = TypeVar("T")

LAST_PULL = 5.0  # seconds that the end of a run waits for an iterator that is still thinking


class Lookahead(Generic[T]):
    """The items of a blocking iterator for the tasks of one event loop.

    An item is there for a task as soon as it is pulled, so an iterator may wait for answers before
    it goes on.

    Args:
        items: read on a thread of its own.
        bound: most items pulled that no task has taken.
    """

    def __init__(self, items: Iterator[T], bound: int) -> None:
        self._items = items
        self._batch = max(bound // 2, 1)  # places are given back in batches: fewer thread switches
        self._places = threading.Semaphore(max(bound, 2 * self._batch - 1))
        self._taken = 0
        self._ready: deque[T] = deque()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._told = False
        self._ended = False
        self._error: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._pull, name="lookahead", daemon=True)

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._places.release()
        self._thread.join(LAST_PULL)

    async def next(self) -> T | None:
        """Wait for an item and return it; None when there are no more.

        Raises:
            BaseException: what the iterator raised.
        """
        while not self._ready:
            if self._ended:
                if self._error is not None:
                    raise self._error
                return None
            turn = self._loop.create_future()
            self._waiting.append(turn)
            await turn
        self._taken += 1
        if self._taken == self._batch:
            self._places.release(self._taken)
            self._taken = 0
        return self._ready.popleft()

    def _pull(self) -> None:
        try:
            while True:
                self._places.acquire()
                if self._stop.is_set():
                    return
                try:
                    item = next(self._items)
                except StopIteration:
                    return
                self._ready.append(item)
                self._tell()
        except BaseException as error:  # raised again by next(), in the thread that asks
            self._error = error
        finally:
            self._ended = True
            self._told = False
            self._tell()

    def _tell(self) -> None:
        if self._told or self._stop.is_set():
            return  # the loop has yet to look, or is past looking
        self._told = True
        with suppress(RuntimeError):  # the run ended, and its loop with it, in this very moment
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._told = False  # before looking: what is pulled from here on is told again
        free = len(self._waiting) if self._ended else len(self._ready)
        while free and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                free -= 1
