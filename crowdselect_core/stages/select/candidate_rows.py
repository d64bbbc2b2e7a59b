"""A stored ranking and the clusters of its rows as columns to choose from.

Array names carry their shape: N rows, B chosen rows.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.selection.candidates import NO_CLUSTER, Candidates
from crowdselect_core.selection.eligibility import check_ids
from crowdselect_core.selection.integration import eligibility_counts
from crowdselect_core.stages.row_columns import RowReader, floats, numbered_frames
from crowdselect_core.store.artifacts import Artifact

Ints = NDArray[np.int64]


class CandidateRows:
    """The rows of a stored ranking, to choose from.

    Args:
        ranking: of all rows.
        clusters: of all rows; None for no clustering.
    """

    def __init__(self, ranking: Artifact, clusters: Artifact | None) -> None:
        self._ranking = ranking
        self.cluster_N = None if clusters is None else cluster_numbers(ranking, clusters)

    def candidates(self) -> Candidates:
        """Return what a choice needs of all rows."""
        return self._read(["score", "eligible", "reason"], lambda frame: None)

    def candidates_with_ids(self) -> tuple[Candidates, pl.Series]:
        """Return what a choice needs of all rows, and their ids.

        Memory: the ids, 52 bytes each where they have 36 characters, as long as either is held.
        """
        held: list[pl.Series] = []
        names = ["instruction_id", "score", "eligible", "reason"]
        found = self._read(names, lambda frame: held.append(frame["instruction_id"]))
        ids: pl.Series = pl.concat(held, rechunk=True)
        return replace(found, ids_of=lambda rows_K: ids[rows_K]), ids

    def _read(self, names: list[str], take: Callable[[pl.DataFrame], None]) -> Candidates:
        score_N, eligible_N = np.empty(self._ranking.rows), np.empty(self._ranking.rows, bool)
        counts: Counter[str] = Counter()
        for start, frame in numbered_frames(self._ranking, names):
            take(frame)
            here = slice(start, start + frame.height)
            score_N[here] = floats(frame["score"])
            eligible_N[here] = frame["eligible"].fill_null(False).to_numpy()
            if not eligible_N[here].all():
                counts.update(eligibility_counts(frame))
        ineligible = dict(sorted(counts.items()))
        ids = ids_of(self._ranking)
        return Candidates(score_N, eligible_N, self.cluster_N, ids, ineligible)

    def rows(self, rows_B: Ints, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Return rows of the ranking by their numbers, cluster_id filled."""
        names = None if columns is None else [n for n in columns if n != "cluster_id"]
        table = self.with_clusters(RowReader(self._ranking, names).gather(rows_B), rows_B)
        return table if columns is None else table.select(columns)

    def with_clusters(self, table: pl.DataFrame, rows_K: Ints) -> pl.DataFrame:
        """Return rows of the ranking, whose numbers are given, with their clusters."""
        return with_clusters(table, self.cluster_N, rows_K)


class _Ids:
    """Gives ids of rows of an artifact by their numbers."""

    def __init__(self, artifact: Artifact) -> None:
        self._reader = RowReader(artifact, ["instruction_id"])

    def __call__(self, rows_K: Ints) -> pl.Series:
        return self._reader.gather(rows_K)["instruction_id"]


def ids_of(artifact: Artifact) -> _Ids:
    """Return what gives the ids of rows by their numbers; shards without one are not read."""
    return _Ids(artifact)


def with_clusters(
    table: pl.DataFrame, cluster_N: NDArray[np.int32] | None, rows_K: Ints
) -> pl.DataFrame:
    """Return rows, whose numbers are given, with the column cluster_id; null without a cluster."""
    numbers = pl.Series("cluster_id", [None], dtype=pl.Int64).new_from_index(0, len(rows_K))
    if cluster_N is not None:
        numbers = pl.Series("cluster_id", cluster_N[rows_K], dtype=pl.Int64)
        numbers = numbers.set(numbers == NO_CLUSTER, None)
    return table.with_columns(numbers)


def cluster_numbers(rows: Artifact, clusters: Artifact) -> NDArray[np.int32]:
    """Return the cluster of every row, NO_CLUSTER where it has none.

    Where the two tables have the same rows in one order, as those of a run do, they are read side
    by side; else they are joined by their ids.
    """
    cluster_N = np.empty(rows.rows, dtype=np.int32)
    reader = RowReader(clusters, ["instruction_id", "cluster_id"])
    for start, frame in numbered_frames(rows, ["instruction_id"]):
        end = start + frame.height
        beside = reader.span(start, end) if end <= clusters.rows else None
        if beside is None or not beside["instruction_id"].equals(frame["instruction_id"]):
            return _joined_numbers(rows, clusters)
        cluster_N[start:end] = beside["cluster_id"].fill_null(NO_CLUSTER).to_numpy()
    return cluster_N


def _joined_numbers(rows: Artifact, clusters: Artifact) -> NDArray[np.int32]:
    table = clusters.frame(["instruction_id", "cluster_id"])
    check_ids(table["instruction_id"], "clusters")
    ids = rows.frame(["instruction_id"])
    found = ids.join(table, on="instruction_id", how="left", maintain_order="left")["cluster_id"]
    return found.fill_null(NO_CLUSTER).to_numpy().astype(np.int32)
