"""Where every row stands after a choice: its place in its cluster and its margin to the cut there.

Array names carry their shape: N rows, E eligible rows in rank order, B chosen rows, G clusters.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crowdselect_core.selection.candidates import NO_CLUSTER, Candidates
from crowdselect_core.selection.quota_allocation import lay_out, numbered
from crowdselect_core.selection.rank_order import by_id, by_rank

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Whole = NDArray[np.signedinteger]

JUST_MISSED = 100  # rows of a cluster that rank best of those not chosen


@dataclass(frozen=True)
class Placement:
    """Where every row stands; `group_N` numbers the clusters from 0, all rows being one without.

    Args:
        order_N: the numbers of the rows: the eligible ones best first, then the others by id.
        group_N: the number of each row's cluster.
        rank_N: 1 is the best chosen row, 0 a row that is not chosen.
        place_N: 1 is the best of its cluster, 0 a row that is not eligible.
        margin_N: score - best score not chosen in its cluster, for a chosen row; score - lowest
            score chosen there, for one that is not; NaN where there is nothing to compare with.
        near_N: rows that are chosen, or just missed: the JUST_MISSED best of those not chosen.
        eligible_G: eligible rows of every cluster.
        chosen_G: chosen rows of every cluster.
    """

    order_N: Ints
    group_N: Whole
    rank_N: NDArray[np.int32]
    place_N: NDArray[np.int32]
    margin_N: Floats
    near_N: Bools
    eligible_G: Ints
    chosen_G: Ints


def placed(candidates: Candidates, chosen_B: Ints, ranks_B: Ints) -> Placement:
    """Place every row.

    Args:
        candidates: all rows.
        chosen_B: the numbers of the chosen rows.
        ranks_B: their ranks.
    """
    score_N, eligible_N = candidates.score_N, candidates.eligible_N
    rows = len(score_N)
    rank_N = np.zeros(rows, dtype=np.int32)
    rank_N[chosen_B] = ranks_B
    order_E = by_rank(np.flatnonzero(eligible_N), score_N, candidates.ids_of)
    others = by_id(np.flatnonzero(~eligible_N), candidates.ids_of)
    group_N = groups_of(candidates.cluster_N, rows)
    groups, group_E = int(group_N.max(initial=0)) + 1, group_N[order_E]
    chosen_E = rank_N[order_E] > 0
    place_N = np.zeros(rows, dtype=np.int32)
    layout = lay_out(group_E)
    place_N[order_E] = layout.within_E + 1
    near_N, cuts = rank_N > 0, np.full((2, groups), np.nan)
    for start, size in zip(layout.starts_C.tolist(), layout.sizes_C.tolist(), strict=True):
        own_E = layout.by_cluster_E[start : start + size]
        in_E, out_E = own_E[chosen_E[own_E]], own_E[~chosen_E[own_E]]
        near_N[order_E[out_E[:JUST_MISSED]]] = True
        ends = (in_E[-1:], out_E[:1])  # the lowest chosen row and the best other one, if any
        for cut_G, end in zip(cuts, ends, strict=True):
            cut_G[group_E[end]] = score_N[order_E[end]]
    del layout
    return Placement(
        order_N=np.concatenate([order_E, others]),
        group_N=group_N,
        rank_N=rank_N,
        place_N=place_N,
        margin_N=_margins(candidates, group_N, chosen_B, cuts),
        near_N=near_N,
        eligible_G=np.bincount(group_E, minlength=groups),
        chosen_G=np.bincount(group_N[chosen_B], minlength=groups),
    )


def groups_of(cluster_N: Whole | None, rows: int) -> Whole:
    """Number the clusters from 0; rows without one are a cluster of their own."""
    if cluster_N is None:
        return np.zeros(rows, dtype=np.int16)
    known_N = cluster_N != NO_CLUSTER
    if known_N.all():
        return numbered(cluster_N)
    beyond = int(cluster_N.max(initial=0)) + 1
    return numbered(np.where(known_N, cluster_N, beyond))


def _margins(candidates: Candidates, group_N: Whole, chosen_B: Ints, cuts: Floats) -> Floats:
    """Return every row's margin to the cut in its cluster, NaN where there is none.

    Args:
        candidates: all rows.
        group_N: the number of each row's cluster.
        chosen_B: the numbers of the chosen rows.
        cuts: of every cluster the lowest score that is chosen, and the best that is not.
    """
    (lowest_in_G, best_out_G), score_N = cuts, candidates.score_N
    margin_N = np.full(len(score_N), np.nan)
    np.subtract(score_N, lowest_in_G[group_N], out=margin_N, where=candidates.eligible_N)
    margin_N[chosen_B] = score_N[chosen_B] - best_out_G[group_N[chosen_B]]
    return margin_N
