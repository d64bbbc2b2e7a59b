"""Parts on threads of this process, a few ahead, results in order."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

from crowdselect_core.store.artifacts import Finished
from crowdselect_core.store.plan import ShardResult


def _in_order(
    call: Callable[[int, Callable[[], ShardResult]], Finished],
    jobs: Iterator[tuple[int, Callable[[], ShardResult]]],
    workers: int,
) -> Iterator[Finished]:
    """Run the jobs on threads, no more than `workers` ahead, and yield the results in order."""
    with ThreadPoolExecutor(workers, thread_name_prefix="shard") as pool:
        waiting: list[Future[Finished]] = []
        try:
            waiting += [pool.submit(call, *job) for job in islice(jobs, workers)]
            while waiting:
                yield waiting.pop(0).result()
                waiting += [pool.submit(call, *job) for job in islice(jobs, 1)]
        finally:
            for future in waiting:
                future.cancel()
