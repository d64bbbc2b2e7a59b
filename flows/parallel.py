"""Running the same work on many things, some at once, as parts of the current flow run."""

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from typing import TypeVar

from tasks import cancellation

T = TypeVar("T")
R = TypeVar("R")

LOOK_SECONDS = 0.5


def each(things: Sequence[T], work: Callable[[T], R], at_once: int) -> list[R]:
    """Do the work on each thing, and return the results in the order of the things.

    After an error nothing new begins; what runs is waited for, and the first error is raised.

    Args:
        things: what is worked on.
        work: called in threads that belong to the current flow run.
        at_once: how many at a time; 1: one after the other, in this thread.
    """
    if at_once == 1:
        return [work(thing) for thing in things]
    pool = ThreadPoolExecutor(at_once, thread_name_prefix="cell")
    # A context each, made here: a copy of the flow run's, which no two threads may share.
    futures = [pool.submit(copy_context().run, work, thing) for thing in things]
    try:
        _finished(futures)
    except Exception:
        raise  # of one thing: what else runs comes to its end
    except BaseException:  # Ctrl-C, SIGTERM: the threads see it at their next call
        cancellation.ask()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return [future.result() for future in futures]


def _finished(futures: Sequence["Future[R]"]) -> None:
    """Wait for all, in short waits so that a signal is seen; raise the first error."""
    left = set(futures)
    while left:
        done, left = wait(left, timeout=LOOK_SECONDS, return_when=FIRST_COMPLETED)
        for future in done:
            if error := future.exception():
                for other in left:
                    other.cancel()
                raise error
