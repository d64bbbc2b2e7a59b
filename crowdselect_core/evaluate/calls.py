"""Asking an engine for what the store lacks; each reply is committed as it comes."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from crowdselect_core.generate.base import Answer, Engine, Failure, Request, checked
from crowdselect_core.generate.call_tracker import CallTracker
from crowdselect_core.generate.in_flight import in_flight_of
from crowdselect_core.store.cache.call_cache import CallCache
from crowdselect_core.store.cache.key_index import as_keys
from crowdselect_core.store.cache.work_sharing import WorkSharing
from crowdselect_core.store.cache.writer import CacheWriter

Row = tuple[Any, ...]
LOOKED_UP = 64  # requests whose cells are looked up at once


def ask(
    cells: CallCache,
    requests: Sequence[Request],
    engine: Callable[[], Engine],
    calls: CallTracker,
    row_of: Callable[[Answer], Row],
    seen: Callable[[Answer], None] = lambda answer: None,
) -> None:
    """Ask for every reply that the store lacks; of two processes each asks for its share.

    Args:
        cells: where the replies are kept.
        requests: what is wanted; one that stands twice is asked once.
        engine: opens what answers; called where anything is missing.
        calls: counts; what the store has is taken off `planned`.
        row_of: the cell of a reply.
        seen: called with a reply that was kept; what it raises ends the run.

    Raises:
        TooManyFailures: more calls failed than may; the replies that came are stored.
    """
    todo = _missing(cells, requests)
    calls.planned -= len(requests) - len(todo)
    calls.cached += len(requests) - len(todo)
    calls.report(calls)
    if not todo:
        return
    opened = engine()
    calls.in_flight = in_flight_of(opened)
    with CacheWriter(cells) as writer, cells.work_sharing() as sharing:

        def keep(answer: Answer) -> None:
            writer.add(row_of(answer))
            seen(answer)

        opened.run(calls.timed(_shared(cells, todo, sharing, calls)), _taker(calls, keep))
    cells.merge(all_small=True)
    calls.check_failures()


def _missing(cells: CallCache, requests: Sequence[Request]) -> list[Request]:
    """Return the requests whose replies the store lacks, each once."""
    wanted = list({request.key: request for request in requests}.values())
    cells.refresh()
    missing = cells.missing(as_keys(request.key for request in wanted))
    return [request for request, lacks in zip(wanted, missing, strict=True) if lacks]


def _taker(calls: CallTracker, keep: Callable[[Answer], None]) -> Callable[[Answer], None]:
    """Return what takes an engine's replies: it counts them, and keeps what is not to be repeated.

    Those are the answers, and failures that another call would not change.
    """

    def take(given: Answer) -> None:
        answer = checked(given)
        calls.finished(answer.key)
        if answer.error is None or answer.failure is Failure.ROW:
            keep(answer)
        if answer.error is None:
            calls.success(answer.prompt_tokens, answer.completion_tokens)
        else:
            calls.failure(answer.key, answer.error, answer.failure)

    return take


def _shared(
    cells: CallCache, todo: Sequence[Request], sharing: WorkSharing, calls: CallTracker
) -> Iterator[Request]:
    """Yield the requests that are this process's now, until nothing is left."""
    asked: set[bytes] = set()

    def lacking() -> bool:
        cells.refresh()
        left = [request.key for request in todo if request.key not in asked]
        return bool(left) and bool(cells.missing(as_keys(left)).any())

    for mine in sharing.rounds(lacking, lambda: calls.slowest):
        for start in range(0, len(todo), LOOKED_UP):
            some = todo[start : start + LOOKED_UP]
            missing = cells.missing(as_keys(request.key for request in some))
            for request, lacks in zip(some, missing, strict=True):
                if request.key not in asked and mine(request.key) and lacks:
                    asked.add(request.key)
                    yield request
