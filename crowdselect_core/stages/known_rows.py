"""Rows of earlier tables, found by their ids: what an earlier run knows of the rows of today.

A data set that rows are added to keeps its rows in one order, so most rows stand in the earlier
tables as far from their place today as the rows before them did: they are looked for there first,
and nothing is held of them.

Array names carry their shape: N rows of the tables, K rows that are looked for.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.stages.row_columns import Ints, RowReader
from crowdselect_core.store.artifacts import Artifact
from crowdselect_core.util.once import Once

ID = "instruction_id"
SHIFTS = 4  # distances that are tried before the hashes are


def hashes_of(ids: pl.Series) -> NDArray[np.uint64]:
    """Return a hash of each id, by which it is looked for in this process."""
    return ids.hash(seed=0).to_numpy()


class KnownRows:
    """Finds rows of tables by instruction_id.

    Memory: a few shards; where rows stand in another order, or are in no table, also 16 bytes of
    every row of the tables.

    Args:
        tables: with the column instruction_id, read as one, each behind the other; no id twice.
        columns: what `rows` returns; without, all.
    """

    def __init__(self, tables: Sequence[Artifact], columns: Sequence[str] | None = None) -> None:
        self._reader = RowReader(tables, columns)
        self._index = Once(lambda: _Index(tables))
        self._shifts: tuple[int, ...] = (0,)

    def rows(self, ids: pl.Series, first: int) -> pl.DataFrame:
        """Return the rows with these ids, in their order, without those that no table has.

        Args:
            ids: of rows that stand behind each other in a table.
            first: the number of the first of them there.
        """
        beside = self._beside(ids, first)
        if beside is not None:
            return beside[1]
        places_K = self._looked_up(ids, first)
        return self._reader.gather(places_K[places_K >= 0])

    def shard(self, rows: pl.DataFrame, first: int) -> bytes | None:
        """Return the bytes of the shard that has these rows and no others; None without one.

        Args:
            rows: what the shard has in these columns, instruction_id among them.
            first: the number of the first row, as in `rows`.
        """
        for shift in self._shifts:
            found = self._reader.shard_of(first + shift, first + shift + rows.height)
            if found is not None:
                artifact, index = found
                data = artifact.bytes(index)
                if artifact.decoded(index, data, rows.columns).equals(rows):
                    return data
        return None

    def places(self, ids: pl.Series, first: int) -> Ints:
        """Return the numbers of the rows with these ids, -1 where no table has one; see `rows`."""
        beside = self._beside(ids, first)
        if beside is not None:
            return np.arange(beside[0], beside[0] + len(ids))
        return self._looked_up(ids, first)

    def _beside(self, ids: pl.Series, first: int) -> tuple[int, pl.DataFrame] | None:
        """Return all of the rows, and where they begin, if they stand together in the tables."""
        for shift in self._shifts:
            start, end = first + shift, first + shift + len(ids)
            if start < 0 or end > self._reader.rows:
                continue
            frame = self._reader.span(start, end)
            if frame[ID].equals(ids):
                return start, frame
        return None

    def _looked_up(self, ids: pl.Series, first: int) -> Ints:
        """Return the numbers of the rows by their hashes; the distance of the last one is noted."""
        places_K = self._index().places(ids)
        (known,) = np.nonzero(places_K >= 0)
        if len(known):
            last = int(known[-1])
            shift = int(places_K[last]) - (first + last)
            self._shifts = (shift, *(s for s in self._shifts if s != shift))[:SHIFTS]
        return places_K


class _Index:
    """The hashes of all ids, in order. A row that is found by its hash is compared by its id."""

    def __init__(self, tables: Sequence[Artifact]) -> None:
        self._ids = RowReader(tables, [ID])
        hashes_N, start = np.empty(self._ids.rows, dtype=np.uint64), 0
        for artifact in tables:
            for frame in artifact.frames([ID]):
                hashes_N[start : start + frame.height] = hashes_of(frame[ID])
                start += frame.height
        self._numbers_N = np.argsort(hashes_N, kind="stable")
        self._hashes_N = hashes_N[self._numbers_N]

    def places(self, ids: pl.Series) -> Ints:
        """Return the numbers of the rows with these ids, -1 where there is none."""
        hashes_K = hashes_of(ids)
        at_K = np.searchsorted(self._hashes_N, hashes_K)
        found_K = np.full(len(ids), -1, dtype=np.int64)
        (left,) = np.nonzero(self._is_hash(at_K, hashes_K))
        while len(left):
            numbers = self._numbers_N[at_K[left]]
            same = (self._ids.gather(numbers)[ID] == ids[left]).to_numpy()
            found_K[left[same]] = numbers[same]
            left = left[~same]  # another id of the same hash: the next one may be it
            at_K[left] += 1
            left = left[self._is_hash(at_K[left], hashes_K[left])]
        return found_K

    def _is_hash(self, at_K: Ints, hashes_K: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Return whether each hash stands at a place among those in order."""
        inside_K = at_K < len(self._hashes_N)
        inside_K[inside_K] = self._hashes_N[at_K[inside_K]] == hashes_K[inside_K]
        return inside_K
