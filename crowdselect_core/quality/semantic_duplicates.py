"""Semantic duplicates: texts whose embeddings point the same way, looked for within clusters.

As in SemDeDup (Abbas et al., arXiv 2303.09540): k-means first, then the cosine similarity of all
pairs within a cluster. The clusters are this module's own: about ROWS_PER_CLUSTER rows each, fitted
with one seed, so that no seed of a run changes what is a duplicate. Pairs across clusters are not
found. There are at most MOST_CLUSTERS, since a row is held against every centre; past a million
rows the clusters grow.

Of a cluster of more than LARGEST rows the rows are compared with those that lie about as far from
its centre: near vectors do. So a row is held against MOST_CLUSTERS + LARGEST vectors at the most,
whatever N.

Shapes: N rows, K clusters, D components, R rows of a cluster.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from crowdselect_core.embedding.kmeans import assign, fit_clusters
from crowdselect_core.util.single_thread import one_thread

ROWS_PER_CLUSTER = 1_000
MOST_CLUSTERS = 1_000
LARGEST = 8_000
BLOCK = 1_000
SEED = 0

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]


def clusters_for(rows: int) -> int:
    """Return how many clusters some rows are compared in."""
    return min(max(1, -(-rows // ROWS_PER_CLUSTER)), MOST_CLUSTERS)


def unit_length(vectors_ND: Vectors) -> Vectors:
    """Return the vectors at length 1; a vector of zeros stays one, and is like no other."""
    lengths = np.linalg.norm(vectors_ND.astype(np.float64), axis=1, keepdims=True)
    units: Vectors = (vectors_ND / np.where(lengths == 0, 1.0, lengths)).astype(np.float32)
    return units


def fit_centers(sample_ND: Vectors, clusters: int) -> Vectors:
    """Return the centres of unit vectors; fewer than asked for where there are fewer rows."""
    return fit_clusters(sample_ND, min(clusters, len(sample_ND)), SEED)


def assigned(units_ND: Vectors, centers_KD: Vectors) -> tuple[Rows, NDArray[np.float64]]:
    """Return each row's cluster and its distance from the centre."""
    return assign(units_ND, centers_KD)


def similar_pairs(
    units_RD: Vectors, distances_R: NDArray[np.float64], threshold: float
) -> Iterator[tuple[Rows, Rows]]:
    """Yield pairs of rows of one cluster whose cosine similarity is at least the threshold.

    Rows of equal vectors are paired with the first of them alone.

    Args:
        units_RD: vectors of length 1, in an order that does not depend on the input's (by id).
        distances_R: from the centre.
        threshold: above 0 and up to 1.
    """
    distinct, first, same = np.unique(units_RD, axis=0, return_index=True, return_inverse=True)
    spoken = (distinct != 0).any(axis=1)  # a vector of zeros has no direction
    repeats = np.flatnonzero((first[same] != np.arange(len(same))) & spoken[same])
    yield repeats, first[same][repeats]
    rows = np.sort(first[spoken])
    if len(rows) > LARGEST:
        rows = rows[np.argsort(distances_R[rows], kind="stable")]
    least = np.float32(threshold - 1e-6)  # float32 sums: 1 may come out a little less
    with one_thread():
        for start in range(0, len(rows), BLOCK):
            mine, others = rows[start : start + BLOCK], rows[start : start + LARGEST]
            near = units_RD[mine] @ units_RD[others].T >= least
            a, b = np.nonzero(np.triu(near, 1))
            yield _forest(mine[a], others[b])


def _forest(a: Rows, b: Rows) -> tuple[Rows, Rows]:
    """Return as few pairs as join the same rows: each with the first of those it is joined to."""
    rows, numbers = np.unique(np.concatenate([a, b]), return_inverse=True)
    if not len(rows):
        return a, b
    edges = (np.ones(len(a), dtype=np.int8), (numbers[: len(a)], numbers[len(a) :]))
    _, labels = connected_components(coo_array(edges, shape=(len(rows),) * 2), directed=False)
    _, first = np.unique(labels, return_index=True)
    return rows, rows[first[labels]]


def clusters_of(
    labels_N: Rows, by_id_N: Rows, held_rows: int, read: Callable[[Rows], Vectors]
) -> Iterator[tuple[Rows, Vectors]]:
    """Yield every cluster's rows, by their ids, and their vectors.

    About `held_rows` vectors are held at a time; a cluster that is larger is held whole.

    Args:
        labels_N: the cluster of each row.
        by_id_N: where each row stands by its id.
        held_rows: vectors that are held at a time.
        read: returns the vectors of some ascending rows.
    """
    order = np.lexsort((by_id_N, labels_N))
    sizes = np.bincount(labels_N)
    ends = np.cumsum(sizes)
    first = 0
    while first < len(sizes):
        begin = int(ends[first] - sizes[first])
        last = max(first + 1, int(np.searchsorted(ends, begin + held_rows, side="right")))
        ascending = np.sort(order[begin : int(ends[last - 1])])
        vectors = read(ascending)
        for cluster in range(first, last):
            own = order[int(ends[cluster] - sizes[cluster]) : int(ends[cluster])]
            if len(own) > 1:
                yield own, vectors[np.searchsorted(ascending, own)]
        first = last
