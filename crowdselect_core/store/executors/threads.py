"""Parts on threads of this process, a few ahead, results in order."""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

from crowdselect_core.store.artifacts import Finished
from crowdselect_core.store.executors.base import Parts


@dataclass(frozen=True)
class Threads:
    """Runs parts on threads, no more than `workers` ahead of the one that is waited for."""

    workers: int = 1

    def run(self, parts: Parts, indices: Iterable[int]) -> Iterator[Finished]:
        """Finish the parts of these indices; see `Executor`."""
        left = iter(indices)
        with ThreadPoolExecutor(self.workers, thread_name_prefix="shard") as pool:
            waiting: list[Future[Finished]] = []
            try:
                waiting += [pool.submit(parts.here, i) for i in islice(left, self.workers)]
                while waiting:
                    yield waiting.pop(0).result()
                    waiting += [pool.submit(parts.here, i) for i in islice(left, 1)]
            finally:
                for future in waiting:
                    future.cancel()
