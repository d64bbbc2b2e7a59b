"""What the stages share: references to artifacts, the open data set, frames cut into shards."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from threading import Lock
from typing import Any, Generic, Self, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from crowdselect_core.config import SelectConfig
from crowdselect_core.ingest.dataset import Dataset
from crowdselect_core.ingest.opening import open_reader
from crowdselect_core.ingest.reader import Partition
from crowdselect_core.store.build import Part, Plan, noted
from crowdselect_core.store.store import Artifact, Store

T = TypeVar("T")


class Ref(BaseModel):
    """A reference to an artifact; all that passes between the tasks of a flow."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    key: str
    rows: int
    cached: bool = False
    seconds: float = 0.0
    counts: Mapping[str, int] = {}
    facts: Mapping[str, Any] = {}

    @classmethod
    def of(cls, artifact: Artifact, seconds: float = 0.0, *, cached: bool = True) -> Self:
        """Return the reference to an artifact."""
        m = artifact.manifest
        return cls(
            stage=m.stage, key=m.key, rows=m.rows, cached=cached, seconds=round(seconds, 3),
            counts=m.counts, facts=m.facts,
        )  # fmt: skip

    def open(self, store: Store) -> Artifact:
        """Return the artifact; DamagedArtifact when it is no longer whole."""
        return store.open(self.stage, self.key)


class Once(Generic[T]):
    """A value that is made when it is first asked for, once, whatever the number of threads."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make, self._lock, self._made = make, Lock(), False
        self._value: T | None = None

    def __call__(self) -> T:
        with self._lock:
            if not self._made:
                self._value, self._made = self._make(), True
        return self._value  # type: ignore[return-value]  # it is made: T, which may itself be None


class Aligned:
    """The rows of an artifact that belong to rows of another, both in the order of the data set.

    Where the two are cut alike, as they are unless `shard_rows` was changed between two runs, one
    shard is read for one shard. Memory: two numbers per shard.
    """

    def __init__(self, artifact: Artifact) -> None:
        self._artifact, self._ends = artifact, Once(self._read_ends)

    def of(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return its rows with these instructions, in its order.

        Args:
            rows: with the columns instruction_id and source_row, in ascending source_row.
        """
        if rows.is_empty():
            return self._artifact.shard(0).clear()
        first, last = rows["source_row"][0], rows["source_row"][-1]
        ids = rows.select("instruction_id")
        near = [i for i, (low, high) in enumerate(self._ends()) if low <= last and high >= first]
        frames = [self._artifact.shard(index) for index in near or [0]]
        return pl.concat(
            [f.join(ids, on="instruction_id", how="semi", maintain_order="left") for f in frames]
        )

    def _read_ends(self) -> list[tuple[int, int]]:
        """Read the first and last row of the data set in every shard; an empty one has none."""
        ends = []
        for frame in self._artifact.frames(["source_row"]):
            source = frame["source_row"]
            ends.append((source[0], source[-1]) if frame.height else (1, 0))
        return ends


def open_dataset(config: SelectConfig) -> Dataset:
    """Open the data set of a resolved config; nothing is read yet.

    Raises:
        DatasetError: nothing is there, or its format is none that is read.
    """
    return Dataset(
        reader=open_reader(config.dataset),
        config=config.dataset,
        crowd=config.models,
        reward_models=config.reward_names,
        limit=config.limit,
        student=config.student,
    )


def kept_rows(
    instructions: pl.DataFrame, part: Partition
) -> tuple[pl.DataFrame, NDArray[np.int64]]:
    """Return the instructions of a partition, and their places in it.

    Rows that repeat an earlier one are no instructions of their own, so places can be missing.
    """
    rows = instructions["source_row"].to_numpy()
    start, end = np.searchsorted(rows, [part.first_row, part.first_row + part.rows])
    return instructions[int(start) : int(end)], rows[start:end] - part.first_row


def holding(partitions: Sequence[Partition], rows: pl.DataFrame) -> list[Partition]:
    """Return the partitions that hold any of the instructions, at least one."""
    source = rows["source_row"].to_numpy()
    found = []
    for part in partitions:
        start, end = np.searchsorted(source, [part.first_row, part.first_row + part.rows])
        if end > start:
            found.append(part)
    return found or list(partitions[:1])


def sliced(frame: Callable[[], pl.DataFrame], rows: int, shard_rows: int) -> Plan:
    """Return the plan of a table that is computed as a whole and stored in shards."""

    def computed() -> tuple[pl.DataFrame, list[str]]:
        with noted() as notes:
            return frame(), notes

    whole = Once(computed)

    def cut(start: int) -> Callable[[], Part]:
        def make() -> Part:
            table, notes = whole()
            return Part(table.slice(start, shard_rows), notes=notes)

        return make

    starts = range(0, rows, shard_rows)
    return Plan([cut(s) for s in starts], cut={"rows": shard_rows}, total=len(starts))


def per_shard(
    artifact: Artifact, columns: list[str] | None = None
) -> Iterator[Callable[[], pl.DataFrame]]:
    """Yield a call per shard of an artifact that reads it when it is made."""
    for index in range(len(artifact.manifest.shards)):
        yield partial(artifact.shard, index, columns)


def table_cut(artifact: Artifact) -> dict[str, Any]:
    """Name a cut that follows an input artifact's shards."""
    return {"rows": [shard.rows for shard in artifact.manifest.shards]}
