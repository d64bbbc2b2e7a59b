"""Tables cut into shards, and the rows of one artifact that belong to a shard of another."""

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any

import polars as pl

from crowdselect_core.ingest.reader import Partition
from crowdselect_core.store.artifacts import Artifact
from crowdselect_core.store.plan import Plan, ShardCopy, ShardResult
from crowdselect_core.util.once import Once


class AlignedReader:
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


def sliced(frame: Callable[[], tuple[pl.DataFrame, list[str]]], rows: int, shard_rows: int) -> Plan:
    """Return the plan of a table that is computed as a whole, with its notes, in shards."""
    whole = Once(frame)

    def shard(index: int) -> ShardResult:
        table, notes = whole()
        return ShardResult(table.slice(index * shard_rows, shard_rows), notes=notes)

    return Plan(-(-rows // shard_rows), shard, cut={"rows": shard_rows})


def by_partition(
    partitions: Sequence[Partition],
    shard: Callable[[Partition], ShardResult],
    shard_rows: int,
    facts: Callable[[], Mapping[str, Any]] = dict,
) -> Plan:
    """Return the plan of a table with a shard for every partition of the data set."""
    return Plan(len(partitions), lambda i: shard(partitions[i]), {"rows": shard_rows}, facts)


def by_shard(
    artifact: Artifact,
    shard: Callable[[pl.DataFrame], ShardResult],
    columns: list[str] | None = None,
    facts: Callable[[], Mapping[str, Any]] = dict,
) -> Plan:
    """Return the plan of a table with a shard for every shard of an input.

    Args:
        artifact: the input.
        shard: makes a shard of a shard of the input.
        columns: what is read of the input; without, all.
        facts: as in `Plan`.
    """
    return by_numbered_shard(artifact, lambda frame, _: shard(frame), columns, facts)


def by_numbered_shard(
    artifact: Artifact,
    shard: Callable[[pl.DataFrame, int], ShardResult | ShardCopy],
    columns: list[str] | None = None,
    facts: Callable[[], Mapping[str, Any]] = dict,
) -> Plan:
    """Return the plan that `by_shard` does; `shard` also takes the number of the first row."""
    rows = [shard.rows for shard in artifact.manifest.shards]
    starts = [0, *accumulate(rows)]

    def compute(index: int) -> ShardResult | ShardCopy:
        return shard(artifact.shard(index, columns), starts[index])

    return Plan(len(rows), compute, {"rows": rows}, facts)
