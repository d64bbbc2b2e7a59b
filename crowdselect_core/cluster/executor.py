"""The parts of a stage on a Ray cluster: workers write the shards, this process commits."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from crowdselect_core.cluster import worker
from crowdselect_core.cluster.calls import Call, Calls
from crowdselect_core.config.executor import ExecutorConfig
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.stages.base import Stage, refs_in
from crowdselect_core.stages.graph import STAGES
from crowdselect_core.store.artifacts import Finished
from crowdselect_core.store.executors.base import Executor, Job, Needs, Parts
from crowdselect_core.store.executors.threads import Threads
from crowdselect_core.store.manifest import Shard

PROCESS = 200 << 20  # bytes of a worker with its libraries


@dataclass(frozen=True)
class Ray:
    """Runs the parts of a stage that spreads on a Ray cluster; of the others, on threads here.

    Args:
        config: the cluster.
        workers: threads, where the parts stay here.
        check: called once a second and at every part; what it raises ends the parts.
    """

    config: ExecutorConfig
    workers: int
    check: Callable[[], None]

    def run(self, parts: Parts, indices: Iterable[int]) -> Iterator[Finished]:
        """Finish the parts of these indices; see `Executor`.

        Raises:
            ConfigError, WorkerLost: see `Calls`.
            RemoteError: a part failed.
        """
        wanted = list(indices)
        needs = needs_of(parts.job)
        if parts.job is None or needs is None or len(wanted) < 2:
            yield from Threads(self.workers).run(parts, wanted)
            return
        for own, alike in by_needs(needs, wanted, parts.without_model):
            calls = Calls(parts.job.stage, self.config, own, self.check)
            for call, outcome in calls.run(_calls(parts, parts.job, alike)):
                name, rows, size, digest, told = outcome.value(call.name)
                yield Shard(name, rows, size, digest), told


def executor_of(config: SelectConfig, check: Callable[[], None]) -> Executor | None:
    """Return the executor of a config; None for the threads of this process.

    Args:
        config: of the run.
        check: see `Ray`.
    """
    if config.executor.kind == "threads":
        return None
    return Ray(config.executor, config.workers, check)


def needs_of(job: Job | None) -> Needs | None:
    """Return what a part of a job takes; None where the parts stay in one process."""
    if job is None:
        return None
    stage = STAGES[job.stage]
    config, inputs = stage.read(job)
    return _needs(stage, config, max((ref.rows for ref in refs_in(inputs)), default=0))


def set_aside(stage: Stage[Any], config: SelectConfig, rows: int) -> int:
    """Return the bytes that Ray sets aside for a part of a stage; 0 where there are none.

    Args:
        stage: one that spreads, or not.
        config: of the run.
        rows: of the stage's inputs.
    """
    own, needs = config.executor.resources.get(stage.name), _needs(stage, config, rows)
    if own is not None and own.memory is not None:
        return own.memory
    return needs.memory if needs is not None else 0


def _needs(stage: Stage[Any], config: SelectConfig, rows: int) -> Needs | None:
    """Return what a part takes; the memory of one that holds something of all rows grows with them.

    None where the parts stay in one process.
    """
    if stage.needs is None:
        return None
    needs = stage.needs(config)
    return replace(needs, memory=PROCESS + stage.row_bytes * rows) if stage.row_bytes else needs


def by_needs(needs: Needs, wanted: list[int], without_model: int) -> list[tuple[Needs, list[int]]]:
    """Return what the parts of a stage take, and which of them: those that run no model first.

    Args:
        needs: of the stage.
        wanted: the indices of the parts.
        without_model: the parts below it run no model.
    """
    if not needs.gpu:
        return [(needs, wanted)]
    without = [index for index in wanted if index < without_model]
    others = [index for index in wanted if index >= without_model]
    found = [(replace(needs, gpu=False), without), (needs, others)]
    return [(own, indices) for own, indices in found if indices]


def _calls(parts: Parts, job: Job, wanted: list[int]) -> Iterator[Call]:
    for index in wanted:
        finished = list(parts.finished.get(index, ()))
        what = {"folder": parts.folder, "index": index, "finished": finished}
        request = worker.request(
            "part", parts.root, job=[job.stage, job.config, job.inputs], **what
        )
        yield Call(index, f"{job.stage} part {index}", request)
