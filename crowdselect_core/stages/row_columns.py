"""Rows of artifacts by their place, and whole columns as arrays: what joins tables by position.

The tables of a run have the rows of its instructions in one order, so the row of one table belongs
to the row of another with the same number, however each of the two is cut into shards.

Array names carry their shape: N rows of an artifact, K rows that are asked for.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from threading import Lock

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.store.artifacts import Artifact

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

SPARE_BITS = 3  # of 8 to 16 beginnings of a hash one is that of a member
KEPT = 2  # decoded shards that are kept for the next look


class RowReader:
    """Reads rows of tables by their numbers; memory: a few shards.

    Args:
        tables: an artifact, or several that are read as one, each behind the other.
        columns: what is read of them; without, all.
    """

    def __init__(
        self, tables: Artifact | Sequence[Artifact], columns: Sequence[str] | None = None
    ) -> None:
        artifacts = [tables] if isinstance(tables, Artifact) else tables
        self._shards = [(a, i) for a in artifacts for i in range(len(a.manifest.shards))]
        self._columns = None if columns is None else list(columns)
        sizes = [a.manifest.shards[i].rows for a, i in self._shards]
        self.starts = np.array([0, *accumulate(sizes)], dtype=np.int64)
        self._frames: dict[int, pl.DataFrame] = {}
        self._lock = Lock()

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return int(self.starts[-1])

    def span(self, start: int, end: int) -> pl.DataFrame:
        """Return the rows from number `start` up to `end`, in one piece."""
        parts = [frame[first:last] for _, first, last, frame in self._spans(start, end)]
        if not parts:
            return self._frame(0).clear()
        return pl.concat(parts, rechunk=True) if len(parts) > 1 else parts[0].rechunk()

    def gather(self, rows_K: Ints) -> pl.DataFrame:
        """Return the rows with these numbers, in their order; every shard is read once at most."""
        order_K = np.argsort(rows_K, kind="stable")
        sorted_K = rows_K[order_K]
        parts = []
        for number, (first, last) in enumerate(zip(self.starts, self.starts[1:], strict=False)):
            start, end = np.searchsorted(sorted_K, [first, last])
            if end > start:
                parts.append(self._frame(number)[sorted_K[start:end] - first])
        if not parts:
            return self._frame(0).clear()
        back_K = np.empty(len(rows_K), dtype=np.int64)
        back_K[order_K] = np.arange(len(rows_K))
        table: pl.DataFrame = pl.concat(parts, rechunk=True)
        return table[pl.Series(back_K)]

    def shard_of(self, start: int, end: int) -> tuple[Artifact, int] | None:
        """Return the shard that has the rows from `start` up to `end`; None where none has them."""
        number = int(np.searchsorted(self.starts[:-1], start, side="right")) - 1
        if number < 0 or (self.starts[number : number + 2] != (start, end)).any():
            return None
        return self._shards[number]

    def _spans(self, start: int, end: int) -> Iterator[tuple[int, int, int, pl.DataFrame]]:
        first = int(np.searchsorted(self.starts, start, side="right")) - 1
        for number in range(max(first, 0), len(self.starts) - 1):
            low, high = int(self.starts[number]), int(self.starts[number + 1])
            if low >= end:
                return
            if high > max(start, low):
                yield number, max(start - low, 0), min(end, high) - low, self._frame(number)

    def _frame(self, number: int) -> pl.DataFrame:
        with self._lock:
            frame = self._frames.pop(number, None)
            if frame is None:
                artifact, index = self._shards[number]
                frame = artifact.shard(index, self._columns)
            self._frames[number] = frame
            while len(self._frames) > KEPT:
                self._frames.pop(next(iter(self._frames)))
            return frame


def floats(column: pl.Series) -> Floats:
    """Return a numeric column as float64, NaN for null."""
    return column.cast(pl.Float64).fill_null(float("nan")).to_numpy()


def numbered_frames(
    artifact: Artifact, columns: list[str] | None = None
) -> Iterator[tuple[int, pl.DataFrame]]:
    """Yield the shards of an artifact, each with the number of its first row."""
    start = 0
    for frame in artifact.frames(columns):
        yield start, frame
        start += frame.height


def whole_numbers(artifact: Artifact, name: str) -> Ints:
    """Return a column of whole numbers of all rows, none of them null."""
    values_N = np.empty(artifact.rows, dtype=np.int64)
    for start, frame in numbered_frames(artifact, [name]):
        values_N[start : start + frame.height] = frame[name].to_numpy()
    return values_N


def source_rows(instructions: Artifact, rows: int) -> Ints:
    """Return where instructions stand in a data set of `rows` rows, in ascending order."""
    if instructions.rows == rows:
        return np.arange(rows)
    return whole_numbers(instructions, "source_row")


class Members:
    """Tells which ids are among some; memory: these ids and some 30 bytes of each.

    Most ids are not: they are told by the first bits of their hashes, without a search.
    """

    def __init__(self, ids: pl.Series) -> None:
        hashes = ids.hash(seed=0).to_numpy()
        bits = len(ids).bit_length() + SPARE_BITS
        self._beyond = np.uint64(64 - bits)
        self._begins = np.zeros(1 << bits, dtype=bool)  # whether any hash has these first bits
        self._begins[hashes >> self._beyond] = True
        order = np.argsort(hashes, kind="stable")
        self._hashes, self._ids = hashes[order], ids[order]
        same = self._hashes[1:] == self._hashes[:-1]
        self._alike = self._ids.filter(np.append(same, False) | np.append(False, same))

    def among(self, ids: pl.Series) -> Bools:
        """Return whether each of `ids` is one of them."""
        hashes_N = ids.hash(seed=0).to_numpy()
        found_N: Bools = self._begins[hashes_N >> self._beyond]
        near_K = hashes_N[found_N]
        places_K = np.searchsorted(self._hashes, near_K).clip(max=len(self._hashes) - 1)
        is_hash_K = self._hashes[places_K] == near_K
        found_N[found_N] = is_hash_K
        near = ids.filter(found_N)
        same = (near == self._ids[places_K[is_hash_K]]) | near.is_in(self._alike.implode())
        found_N[found_N] = same.to_numpy()
        return found_N


class SparseRows:
    """Numbers of some rows, in the order of all rows; memory: a few shards.

    Args:
        artifact: with instruction_id and the column; no row twice.
        column: of numbers.
    """

    def __init__(self, artifact: Artifact, column: str) -> None:
        self._artifact, self._column = artifact, column
        self._reader, self._next = RowReader(artifact, ["instruction_id", column]), 0
        self._whole: pl.DataFrame | None = None

    def of(self, ids: pl.Series) -> Floats:
        """Return the numbers of the next rows, all of which are asked for in order; NaN without.

        Numbers that are in another order are found by their ids, at the memory of all of them.
        """
        if self._whole is None:
            end = min(self._next + len(ids), self._reader.rows)
            near = self._reader.span(self._next, end)
            is_here = near["instruction_id"].is_in(ids.implode())
            count = int(is_here.sum())
            if bool(is_here.head(count).all()):
                self._next += count
                return self._joined(ids, near.head(count))
            self._whole = self._artifact.frame(["instruction_id", self._column])
        return self._joined(ids, self._whole)

    def _joined(self, ids: pl.Series, table: pl.DataFrame) -> Floats:
        left = pl.DataFrame({"instruction_id": ids})
        joined = left.join(table, on="instruction_id", how="left", maintain_order="left")
        return floats(joined[self._column])
