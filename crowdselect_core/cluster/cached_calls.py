"""What models say of rows, on a Ray cluster: a shard of rows a call; workers commit the cells.

A call that is made again, on another worker, goes on from the cells that are committed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from crowdselect_core.cluster import worker
from crowdselect_core.cluster.calls import Call, Calls
from crowdselect_core.config.executor import ExecutorConfig
from crowdselect_core.generate.call_tracker import CallTracker
from crowdselect_core.stages.crowd.finished_calls import finish
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.cache.call_cache import CallCache
from crowdselect_core.store.executors.base import Needs


@dataclass(frozen=True)
class Shards:
    """Rows whose cells are missing, as workers are told of them.

    Args:
        stage: whose `executor.resources` a call takes.
        work: the kind of the requests; see `worker.request`.
        needs: what a call takes without them.
        count: of the shards.
        what: the arguments of every request beside the shard's number, as JSON values.
    """

    stage: str
    work: str
    needs: Needs
    count: int
    what: Mapping[str, Any] = field(default_factory=dict)


def run(
    shards: Shards,
    config: ExecutorConfig,
    store: Store,
    cells: CallCache,
    calls: CallTracker,
    check: Callable[[], None],
) -> Mapping[str, Any]:
    """Have workers make the cells of every shard, and count what came of their calls.

    Args:
        shards: what is computed.
        config: the cluster.
        store: where cells are.
        cells: that the workers add to.
        calls: counts and reports, whenever a shard is finished.
        check: called once a second; what it raises ends the calls.

    Returns:
        The answer to the call that ended last; nothing where there are no shards.

    Raises:
        TooManyFailures: more calls failed than may.
        ConfigError, WorkerLost: see `Calls`.
    """
    remote = Calls(shards.stage, config, shards.needs, check)
    root, what = store.place.root, shards.what
    requests = (
        Call(i, f"{calls.name}, shard {i}", worker.request(shards.work, root, index=i, **what))
        for i in range(shards.count)
    )
    told: Mapping[str, Any] = {}
    for call, outcome in remote.run(requests):
        told = outcome.value(call.name)
        failed = {bytes.fromhex(key): error for key, error in told["failed"].items()}
        calls.add(told["answered"], told["codes"], failed)
    cells.refresh()
    finish(store, cells, calls)
    return told
