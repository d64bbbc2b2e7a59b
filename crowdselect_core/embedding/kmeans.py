"""K-means over the embeddings: seeded, fitted once, then every row to its nearest centre.

Up to `fit_rows(k)` rows the fit sees all of them; past that the caller passes the seeded sample
that `embedding.fit_sample` draws, in the order of its ids. Measured on 100,000 x 384
(`python -m benchmarks.clustering`), centres fitted on 20,000 rows leave the inertia of all rows
0.02 % (k = 10) to 0.4 % (k = 30) above the full fit's, for a quarter of its CPU time: 1 to 2 s.

Fitting is float32: float64 takes twice as long and moves the inertia by 0.15 % at most, either way.

Array names carry their shape: N rows, D components of a vector, K clusters, B rows of a block.
"""

import warnings

import numpy as np
from numpy.typing import NDArray

from crowdselect_core.errors import DatasetError, SelectionError
from crowdselect_core.util.single_thread import one_thread

FIT_ROWS = 20_000  # k up to 78; see fit_rows
ROWS_PER_CLUSTER = 256  # as faiss (max_points_per_centroid): more rows hardly move a centre
STARTS, START_ROWS, START_ROWS_PER_CLUSTER = 10, 2_000, 40
CANDIDATES = 30
MAX_ITERATIONS = 100  # the last ones of scikit-learn's 300 move the inertia by 1e-4
# In float64 these rows stay in a core's cache: by 1,024 a pass takes 2.6 times as long.
BLOCK_ROWS = 256
DISTINCT_ROWS = 1024

Vectors = NDArray[np.float32]
Labels = NDArray[np.int64]
Distances = NDArray[np.float64]


def fit_rows(k: int) -> int:
    """Return how many rows the fit needs to see for k clusters: 20,000, or 256 a cluster."""
    return max(FIT_ROWS, ROWS_PER_CLUSTER * k)


def check_clusters(k: int, rows: int) -> None:
    """Check that there are at least k rows.

    Raises:
        SelectionError: there are fewer, and k is no word for no clusters (0, 1).
    """
    if k > max(rows, 1):
        raise SelectionError(
            f"clusters: {k} requested, but there are {rows} rows: set --clusters to {rows} or "
            "less, or 0 for none"
        )


def check_distinct(vectors_ND: Vectors, k: int) -> None:
    """Check that there are at least k distinct vectors; stops at the k-th.

    Raises:
        SelectionError: there are fewer; names both numbers.
    """
    seen: set[object] = set()
    for start in range(0, len(vectors_ND), DISTINCT_ROWS):
        # adding 0 makes -0.0 the same bytes as 0.0
        block_BD = np.ascontiguousarray(vectors_ND[start : start + DISTINCT_ROWS]) + np.float32(0)
        whole_rows = np.dtype((np.void, block_BD.shape[1] * block_BD.itemsize))
        seen.update(block_BD.view(whole_rows).ravel().tolist())
        if len(seen) >= k:
            return
    if len(seen) < k:
        raise SelectionError(
            f"clusters: {k} requested, but the instructions have only {len(seen)} distinct "
            f"embeddings: set --clusters to {len(seen)} or less, or 0 for none"
        )


def fit_clusters(vectors_ND: Vectors, k: int, seed: int) -> Vectors:
    """Fit k centres by k-means (Lloyd), seeded and on one thread.

    k-means++ from one draw often puts two centres into one group and keeps them there: on ten well
    separated groups its inertia was up to 1.8 times the best. So ten starts run on 2,000 of the
    rows (40 a cluster, if that is more), each new centre the best of 30 candidates, and the best
    start is carried on over all rows, after Bradley and Fayyad, Refining Initial Points for
    K-Means Clustering (1998). That found the groups with each of 20 seeds, for up to a third more
    CPU time than one plain start.

    The clusters are numbered by their first row: cluster 0 holds row 0, cluster 1 holds the first
    row that is not in cluster 0, and so on; one without rows (there may be fewer distinct rows
    here than in the whole set) comes last.

    Args:
        vectors_ND: any scale, all finite, at least k rows, in an order that does not depend on the
            input's (by id).
        k: at least 1.
        seed: 0 to 2**32 - 1.

    Returns:
        centers_KD. The same on every run and for any number of threads; another build of BLAS may
        differ in the last bits.

    Raises:
        DatasetError: vectors that are not finite; says how many.
        SelectionError: fewer rows than k.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    _require_finite(vectors_ND)
    check_clusters(k, len(vectors_ND))
    # A power of two, so exact: squares of very large or small numbers leave float32 otherwise.
    exponent = int(np.frexp(np.abs(vectors_ND).max())[1])
    scaled_ND = np.ldexp(vectors_ND, -exponent) if abs(exponent) > 20 else vectors_ND
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", ConvergenceWarning
        )  # fewer distinct rows than k: check_distinct says it
        start_KD = _best_start(scaled_ND, k, seed)
        fitted = KMeans(k, init=start_KD, n_init=1, max_iter=MAX_ITERATIONS).fit(scaled_ND)
        centers_KD = fitted.cluster_centers_.astype(np.float32)
        labels_N, _ = assign(scaled_ND, centers_KD)
    first_K = np.full(k, len(labels_N))
    np.minimum.at(first_K, labels_N, np.arange(len(labels_N)))
    numbered_KD: Vectors = centers_KD[np.argsort(first_K, kind="stable")]
    return np.ldexp(numbered_KD, exponent) if abs(exponent) > 20 else numbered_KD


def _best_start(vectors_ND: Vectors, k: int, seed: int) -> Vectors:
    """Run several starts on a few rows and return the centres of the one with least inertia."""
    from sklearn.cluster import KMeans, kmeans_plusplus

    rng = np.random.default_rng(seed)
    rows = min(len(vectors_ND), max(START_ROWS, START_ROWS_PER_CLUSTER * k))
    few_BD = vectors_ND[np.sort(rng.choice(len(vectors_ND), rows, replace=False))]
    runs = []
    for _ in range(max(1, min(STARTS, 300 // k))):  # fewer where k makes each one dear
        state = int(rng.integers(2**31))
        init_KD, _ = kmeans_plusplus(few_BD, k, random_state=state, n_local_trials=CANDIDATES)
        runs.append(KMeans(k, init=init_KD, n_init=1, max_iter=MAX_ITERATIONS).fit(few_BD))
    best: Vectors = min(runs, key=lambda run: float(run.inertia_)).cluster_centers_
    return best


def assign(vectors_ND: Vectors, centers_KD: Vectors) -> tuple[Labels, Distances]:
    """Assign every row to its nearest centre; the lowest number wins a tie.

    A row's label and distance depend on that row and the centres alone, to the last bit: not on
    the other rows, the block or the threads. A matrix product does not promise that, so it only
    proposes: the distance is summed row by row in float64, and where a second centre is within
    the product's error bound of the first, so are the distances to all centres.

    Args:
        vectors_ND: all finite.
        centers_KD: at least one.

    Returns:
        labels_N in 0..K-1 and distances_N, Euclidean, at least 0.

    Raises:
        DatasetError: vectors that are not finite; says how many.
    """
    labels_N = np.empty(len(vectors_ND), dtype=np.int64)
    distances_N = np.empty(len(vectors_ND), dtype=np.float64)
    centers64_KD = centers_KD.astype(np.float64)
    with one_thread(), np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for start in range(0, len(vectors_ND), BLOCK_ROWS):
            block_BD = vectors_ND[start : start + BLOCK_ROWS]
            labels_B = _nearest(block_BD, centers_KD, centers64_KD)
            labels_N[start : start + BLOCK_ROWS] = labels_B
            distances_N[start : start + BLOCK_ROWS] = np.sqrt(
                _squared(block_BD, centers64_KD[labels_B])
            )
    if not np.isfinite(distances_N).all():
        _require_finite(vectors_ND)
    return labels_N, distances_N


def _nearest(block_BD: Vectors, centers_KD: Vectors, centers64_KD: Distances) -> Labels:
    """Return argmin_k |x - c_k|^2 of every row, settled by `_squared` where it is close.

    |x - c|^2 = |x|^2 + 2 (|c|^2 / 2 - x.c), and the computed x.c is off by at most
    D u / (1 - D u) |x| |c| with u = 2^-24 (Higham, Accuracy and Stability, section 3.1), in
    whatever order it is summed. The bound below is twice that, for two centres, and more than
    covers the rounding of the float64 sums. NaN and infinity count as close.
    """
    rows_B = np.arange(len(block_BD))
    halves_K = _squared(centers64_KD, 0.0) / 2
    scores_BK = halves_K - block_BD @ centers_KD.T
    labels_B: Labels = scores_BK.argmin(axis=1)
    best_B = scores_BK[rows_B, labels_B]
    scores_BK[rows_B, labels_B] = np.inf
    norms_B = np.sqrt(_squared(block_BD, 0.0))
    longest = np.sqrt(2 * halves_K.max())
    width = block_BD.shape[1]
    bound_B = width * 2.0**-22 * norms_B * longest + 1e-12 * (norms_B + longest) ** 2
    # width * 2^-148: what products below float32's range may have lost
    clear_B = scores_BK.min(axis=1) - best_B > bound_B + width * 2.0**-148
    close_B = ~(clear_B & np.isfinite(best_B))
    if close_B.any():
        near_BD = block_BD[close_B]
        exact_BK = np.stack([_squared(near_BD, center_D) for center_D in centers64_KD], axis=1)
        labels_B[close_B] = exact_BK.argmin(axis=1)
    return labels_B


def _squared(block_BD: Vectors | Distances, other: Distances | float) -> Distances:
    """Return the squared Euclidean distances, each row summed by itself in float64."""
    difference_BD = np.subtract(block_BD, other, dtype=np.float64)
    difference_BD *= difference_BD
    squared_B: Distances = difference_BD.sum(axis=1)
    return squared_B


def _require_finite(vectors_ND: Vectors) -> None:
    bad = int(np.count_nonzero(~np.isfinite(vectors_ND).all(axis=1)))
    if bad:
        raise DatasetError(
            f"embeddings: {bad} of {len(vectors_ND)} vectors hold NaN or infinity: correct the "
            "vector column, or embed with another model or dtype"
        )
