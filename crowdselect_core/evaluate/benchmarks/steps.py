"""What the benchmarks share that measure weights: a device, the weights laid out, progress."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from crowdselect_core.evaluate.candidates import Candidate, opened
from crowdselect_core.evaluate.live import Report, Tools
from crowdselect_core.evaluate.sources import Source
from crowdselect_core.generate.call_tracker import CallTracker

Count = Callable[[int, int], None]  # rows or tasks done, in all


@dataclass(frozen=True)
class Weights:
    """A model that can be measured here and now.

    Args:
        source: where its weights are; of an adapter that is not merged those of its base.
        adapter: the folder of an adapter that is not merged.
        gpus: that were lent; the processor where empty.
        count: takes how many rows or tasks are done; see `counted`.
    """

    source: Source
    adapter: Path | None
    gpus: Sequence[str]
    count: Count


@contextmanager
def laid_out(
    benchmark: str, model: Candidate, tools: Tools, *, merged: bool = True
) -> Iterator[Weights]:
    """Lend a device and lay out a model's weights while the block runs.

    Args:
        benchmark: its name, for the progress.
        model: no endpoint.
        tools: of the run.
        merged: an adapter is merged into its base model; else it lies beside it.

    Raises:
        Stopped: the run was stopped while it waited for the device.
    """
    with tools.shown(benchmark, model.name) as report, tools.lent(None, model.name) as gpus:
        tools.check()  # it may have waited long for its device
        with opened(model, tools.store, merged=merged) as source:
            count = counted(model.name, report)
            if merged or model.base is None:
                yield Weights(source, None, gpus, count)
            else:
                yield Weights(model.base, Path(source.model), gpus, count)


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
