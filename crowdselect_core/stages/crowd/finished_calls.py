"""What ends the calls of one model: the cells are merged, and too many failures are refused."""

from crowdselect_core.generate.call_tracker import CallTracker
from crowdselect_core.stages.crowd.throughput import write_pace
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.cache.call_cache import CallCache


def finish(store: Store, cells: CallCache, calls: CallTracker, *, paced: bool = True) -> None:
    """Merge the cells that the calls committed, and note how fast they were.

    Args:
        store: where the cells are.
        cells: of the model.
        calls: that were made.
        paced: whether their pace tells of further ones.

    Raises:
        TooManyFailures: more calls failed than may.
    """
    cells.merge(all_small=True)
    if calls.answered and paced:
        write_pace(store, cells.spec, calls)
    calls.check_failures()
