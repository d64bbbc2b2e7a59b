"""Running the same work on many things, some at once, as parts of the current flow run."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from threading import Event
from typing import TypeVar

from tasks import cancellation

T = TypeVar("T")
R = TypeVar("R")

LOOK_SECONDS = 0.5


def each(things: Sequence[T], work: Callable[[T], R], at_once: int) -> list[R]:
    """Do the work on each thing, and return the results in the order of the things.

    After an error nothing new begins; what runs comes to its end, and the first error is raised.

    Args:
        things: what is worked on.
        work: called in threads that belong to the current flow run.
        at_once: how many at a time; 1: one after the other, in this thread.
    """
    if at_once == 1:
        return [work(thing) for thing in things]
    failed = Event()

    def begun(thing: T) -> list[R]:
        if failed.is_set():
            return []
        try:
            return [work(thing)]
        except BaseException:
            failed.set()
            raise

    with ThreadPoolExecutor(at_once, thread_name_prefix="cell") as pool:
        # A context each, made here: a copy of the flow run's, which no two threads may share.
        futures = [pool.submit(copy_context().run, begun, thing) for thing in things]
        try:
            _wait(futures)
        except BaseException:  # Ctrl-C, SIGTERM: the threads see it at their next call
            failed.set()
            cancellation.ask()
            raise
    return [result for future in futures for result in future.result()]


def _wait(futures: Sequence["Future[list[R]]"]) -> None:
    """Wait for all, in short waits so that a signal is seen between them."""
    left = set(futures)
    while left:
        _, left = wait(left, timeout=LOOK_SECONDS)
