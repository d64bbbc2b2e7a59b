"""What an executor gets and gives: the numbered parts of an artifact, and the finished shards.

A part is computed by a call in this process, or by any process that is given a job and an index.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from crowdselect_core.store.artifacts import Finished


@dataclass(frozen=True)
class Job:
    """A stage's work as texts: with a store and an index, they are all that a part follows from.

    Args:
        stage: the stage's name in the graph.
        config: the run's config as JSON.
        inputs: what else the stage is computed from, by name, as JSON: references, models.
    """

    stage: str
    config: str
    inputs: str


@dataclass(frozen=True)
class Needs:
    """What one part of a stage takes of the machine that computes it.

    Args:
        cpus: processors.
        gpu: whether it runs a model, which takes a GPU where there is one.
        gpus: how many of them.
        memory: bytes; 0: too few to count.
    """

    cpus: float = 1.0
    gpu: bool = False
    gpus: int = 1
    memory: int = 0


@dataclass(frozen=True)
class Parts:
    """The parts of one artifact.

    Args:
        root: of the store.
        folder: of the artifact, in the store.
        finished: the names of the shards that an earlier build left, by index.
        job: what other processes compute the parts from (`stages.graph.finish`); None where the
            plan is of this process alone.
        here: finishes the part of an index in this process.
        without_model: the first so many parts run no model, whatever the stage needs.
    """

    root: str
    folder: str
    finished: Mapping[int, Sequence[str]]
    job: Job | None
    here: Callable[[int], Finished]
    without_model: int = 0


class Executor(Protocol):
    """Runs the parts of a build."""

    def run(self, parts: Parts, indices: Iterable[int]) -> Iterator[Finished]:
        """Finish the parts of these indices and yield the shards as they end, in any order.

        What a part raises is raised here; parts that were not begun are then left.
        """
        ...
