"""Where a few rows stand after a choice, without putting all rows in order.

Of the rows that rank before an asked one only the number counts: every row is looked up among the
asked rows of its cluster, a chunk of rows at a time.

Array names carry their shape: N rows, K asked rows, A of them that are eligible, cluster after
cluster in rank order, G clusters, C eligible rows of a chunk, H of them in one cluster.
"""

from bisect import bisect_right

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.selection.candidates import Candidates
from crowdselect_core.selection.placement import Placement, groups_of
from crowdselect_core.selection.rank_order import IdsOf

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

CHUNK = 1 << 18  # rows that are looked up at a time


def placed_alone(candidates: Candidates, chosen_B: Ints, ranks_B: Ints, rows_K: Ints) -> Placement:
    """Return what `placement.placed` says of some rows, numbered from 0 as they are given.

    Memory: some 10 bytes a row, and a chunk.

    Args:
        candidates: all rows.
        chosen_B: the numbers of the chosen rows.
        ranks_B: their ranks.
        rows_K: the numbers of the rows that are asked for, each once.
    """
    score_N, eligible_N = candidates.score_N, candidates.eligible_N
    group_N = groups_of(candidates.cluster_N, len(score_N))
    rank_N = np.zeros(len(score_N), dtype=np.int32)
    rank_N[chosen_B] = ranks_B
    group_K, eligible_K = group_N[rows_K], eligible_N[rows_K]
    asked = _Asked(candidates, rows_K[eligible_K], group_N, int(group_N.max(initial=0)) + 1)
    for start in range(0, len(score_N), CHUNK):
        rows_C = start + np.flatnonzero(eligible_N[start : start + CHUNK])
        asked.count(rows_C, group_N[rows_C], score_N[rows_C], rank_N[rows_C] > 0)
    place_K, margin_K = np.zeros(len(rows_K), dtype=np.int32), np.full(len(rows_K), np.nan)
    place_K[eligible_K] = asked.places()
    rank_K, group_A = rank_N[rows_K], group_K[eligible_K]
    cut_A = np.where(rank_K[eligible_K] > 0, asked.best_out_G[group_A], asked.lowest_in_G[group_A])
    margin_K[eligible_K] = score_N[rows_K[eligible_K]] - cut_A
    return Placement(
        order_N=np.arange(len(rows_K)),
        group_N=group_K,
        rank_N=rank_K,
        place_N=place_K,
        margin_N=margin_K,
        near_N=rank_K > 0,
        eligible_G=asked.eligible_G,
        chosen_G=np.bincount(group_N[chosen_B], minlength=len(asked.eligible_G)),
    )


class _Asked:
    """The eligible asked rows in rank order, and how many of all rows stand before each."""

    def __init__(
        self, candidates: Candidates, rows_A: Ints, group_N: NDArray[np.signedinteger], groups: int
    ) -> None:
        self._ids_of: IdsOf = candidates.ids_of
        table = pl.DataFrame(
            {
                "group": group_N[rows_A],
                "key": 0.0 - candidates.score_N[rows_A],  # ascending; no zero is negative
                "id": self._ids_of(rows_A) if len(rows_A) else pl.Series(dtype=pl.String),
            }
        )
        self._order_A = table.select(pl.arg_sort_by("group", "key", "id")).to_series().to_numpy()
        table = table[self._order_A]
        self._key_A, self._ids_A = table["key"].to_numpy(), table["id"].to_list()
        self._rows_A = rows_A[self._order_A]
        self._bounds_G = np.searchsorted(table["group"].to_numpy(), np.arange(groups + 1))
        # Of every cluster a number for each of its asked rows and one for what is behind them all.
        self._before = np.zeros(len(rows_A) + groups, dtype=np.int64)
        self.eligible_G = np.zeros(groups, dtype=np.int64)
        self.best_out_G, self.lowest_in_G = np.full((2, groups), np.nan)

    def count(
        self, rows_C: Ints, group_C: NDArray[np.signedinteger], score_C: Floats, chosen_C: Bools
    ) -> None:
        """Count the rows of a chunk before the asked ones that they rank before."""
        sizes_G = np.bincount(group_C, minlength=len(self.eligible_G))
        self.eligible_G += sizes_G
        by_group_C = np.argsort(group_C, kind="stable")
        ends_G = np.cumsum(sizes_G)
        for group in np.flatnonzero(sizes_G * np.diff(self._bounds_G)).tolist():
            here_H = by_group_C[ends_G[group] - sizes_G[group] : ends_G[group]]
            score_H, chosen_H = score_C[here_H], chosen_C[here_H]
            self._cut(group, score_H[chosen_H], score_H[~chosen_H])
            first, last = self._bounds_G[group : group + 2].tolist()
            before_H = self._first_behind(first, last, rows_C[here_H], score_H)
            counts = np.bincount(before_H - first, minlength=last - first + 1)
            self._before[first + group : last + group + 1] += counts

    def places(self) -> Ints:
        """Return the place of every asked row in its cluster, from 1, as they were given."""
        places_A = np.empty(len(self._rows_A), dtype=np.int64)
        for group in np.flatnonzero(np.diff(self._bounds_G)).tolist():
            first, last = self._bounds_G[group : group + 2].tolist()
            counts = self._before[first + group : last + group]
            places_A[self._order_A[first:last]] = 1 + np.cumsum(counts)
        return places_A

    def _cut(self, group: int, inside: Floats, outside: Floats) -> None:
        """Note the lowest chosen score of a cluster, and the best one that is not chosen."""
        if len(inside):
            self.lowest_in_G[group] = np.fmin(self.lowest_in_G[group], inside.min())
        if len(outside):
            self.best_out_G[group] = np.fmax(self.best_out_G[group], outside.max())

    def _first_behind(self, first: int, last: int, rows_H: Ints, score_H: Floats) -> Ints:
        """Return, of every row, the first asked row of `first` to `last` that it ranks before."""
        keys = self._key_A[first:last]
        behind_H = first + np.searchsorted(keys, 0.0 - score_H, side="left")
        beyond_H = first + np.searchsorted(keys, 0.0 - score_H, side="right")
        (tied,) = np.nonzero(behind_H < beyond_H)
        if not len(tied):
            return behind_H
        asked = {int(row): place for place, row in enumerate(self._rows_A[first:last], first)}
        own = np.array([asked.get(row, -1) for row in rows_H[tied].tolist()])
        behind_H[tied[own >= 0]] = own[own >= 0] + 1
        others = tied[own < 0]
        if len(others):
            ids = self._ids_of(rows_H[others]).to_list()
            spans = zip(ids, behind_H[others].tolist(), beyond_H[others].tolist(), strict=True)
            behind_H[others] = [bisect_right(self._ids_A, i, low, high) for i, low, high in spans]
        return behind_H
