"""How many rows each cluster gives: the arithmetic of the three quotas.

Source: METHOD, "Clusters and quota". Rows stand in rank order (score descending, instruction_id
ascending) from the start, so "the best" is always "the first", and the order of the input rows
can change nothing.

Array names carry their shape: E eligible rows in rank order, or those of them that can be chosen, C
clusters that have eligible rows.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crowdselect_core.errors import ConfigError, nearest, shown

Ints = NDArray[np.int64]
Whole = NDArray[np.signedinteger]

_DENSE = 1 << 15  # ids that lie so near to each other are counted and not sorted

QUOTAS = ("equal", "proportional", "reference")


class ClusterLayout(NamedTuple):
    """How the eligible rows, in rank order, lie in the clusters."""

    cluster_E: Whole  # 0..C-1
    within_E: Ints  # a row's place in its cluster; 0 is the cluster's best
    by_cluster_E: Ints  # the rows' places in rank order, cluster after cluster
    starts_C: Ints  # where each cluster starts in by_cluster_E
    sizes_C: Ints  # eligible rows, also those that are not laid out


def check_quota(quota: str) -> str:
    """Return the quota's name if there is such a quota, else raise a ConfigError."""
    if quota not in QUOTAS:
        raise ConfigError(f"quota {quota!r} is unknown{nearest(quota, QUOTAS)} ({shown(QUOTAS)})")
    return quota


def lay_out(ids_E: Whole) -> ClusterLayout:
    """Lay out rows in rank order by the cluster id of each."""
    cluster_E = numbered(ids_E)
    sizes_C = np.bincount(cluster_E)
    starts_C = np.cumsum(sizes_C) - sizes_C
    if len(sizes_C) <= 1:  # without clusters there is nothing to sort
        places_E = np.arange(len(ids_E))
        return ClusterLayout(cluster_E, places_E, places_E, starts_C, sizes_C)
    by_cluster_E = np.argsort(cluster_E, kind="stable")
    within_E = np.empty(len(ids_E), dtype=np.int64)
    within_E[by_cluster_E] = np.arange(len(ids_E)) - np.repeat(starts_C, sizes_C)
    return ClusterLayout(cluster_E, within_E, by_cluster_E, starts_C, sizes_C)


def numbered(ids_E: Whole) -> Whole:
    """Number the ids from 0 in their order; few of them in 16 bits, which sort by radix."""
    if not len(ids_E):
        return np.zeros(0, dtype=np.int16)
    low, high = int(ids_E.min()), int(ids_E.max())
    if high - low >= _DENSE:
        _, cluster_E = np.unique(ids_E, return_inverse=True)
        return cluster_E
    number_of = np.cumsum(np.bincount(ids_E - low, minlength=1) > 0) - 1
    return number_of.astype(np.int16)[ids_E - low]


def choose(layout: ClusterLayout, budget: int, quota: str) -> Ints:
    """Return the places of the chosen rows, best first.

    Args:
        layout: the eligible rows; of each cluster at least the `budget` + 1 best.
        budget: how many rows; at most as many as there are, but for `reference`.
        quota: `equal` and `proportional` choose exactly `budget` rows, `reference` at most.
    """
    if quota == "reference":
        share = -(-budget // max(len(layout.sizes_C), 1))
        return np.flatnonzero(layout.within_E < share)[:budget]
    allot = _equal if quota == "equal" else _proportional
    rows_C = allot(layout, budget)
    return np.flatnonzero(layout.within_E < rows_C[layout.cluster_E])


def _equal(layout: ClusterLayout, budget: int) -> Ints:
    """Allot min(e_c, T) rows to each cluster, and what is left to the best next rows."""
    sizes_C = layout.sizes_C
    low, high = 0, int(sizes_C.max(initial=0))
    while low < high:  # the largest T that stays within the budget
        middle = (low + high + 1) // 2
        if int(np.minimum(sizes_C, middle).sum()) <= budget:
            low = middle
        else:
            high = middle - 1
    rows_C = np.minimum(sizes_C, low)
    left = budget - int(rows_C.sum())
    (open_C,) = np.nonzero(rows_C < sizes_C)
    rows_C[open_C[np.argsort(_next(layout, rows_C)[open_C])][:left]] += 1
    return rows_C


def _proportional(layout: ClusterLayout, budget: int) -> Ints:
    """Allot budget * e_c / E rows to each cluster by largest remainder, in whole numbers.

    A cluster with a remainder has a row to spare: budget < E then, so its share is below e_c.
    """
    total = max(int(layout.sizes_C.sum()), 1)
    rows_C, remainder_C = np.divmod(layout.sizes_C * budget, total)
    left = budget - int(rows_C.sum())
    order_C = np.lexsort((_next(layout, rows_C), -remainder_C))
    rows_C[order_C[:left]] += 1
    return rows_C


def _next(layout: ClusterLayout, rows_C: Ints) -> Ints:
    """Return the place in rank order of each cluster's next row; E where it has none left."""
    none = len(layout.cluster_E)
    following = np.append(layout.by_cluster_E, none)[layout.starts_C + rows_C]
    return np.where(rows_C < layout.sizes_C, following, none)
