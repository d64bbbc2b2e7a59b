"""Progress of a benchmark that counts rows or tasks, shown as that of calls is."""

from collections.abc import Callable

from crowdselect_core.evaluate.live import Report
from crowdselect_core.generate.call_tracker import CallTracker

Count = Callable[[int, int], None]  # rows or tasks done, in all


def counted(name: str, report: Report) -> Count:
    """Return what takes how many of all are done; the first time, how many were stored."""
    trackers: list[CallTracker] = []

    def count(done: int, total: int) -> None:
        if not trackers:
            trackers.append(CallTracker(name, total - done, done, 1.0, report))
        calls = trackers[0]
        for _ in range(done - calls.cached - calls.answered):
            calls.finished(b"")
            calls.success()
        report(calls)

    return count
