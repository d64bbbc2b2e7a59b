"""k-center greedy: rows that lie as far from each other as can be (farthest-first traversal).

Source: Gonzalez 1985; for selecting training data Sener and Savarese, arXiv 1708.00489. Array names
carry their shape: N rows, D components.
"""

import numpy as np
from numpy.typing import NDArray

from crowdselect_core.util.single_thread import one_thread

Vectors = NDArray[np.float32]
Floats = NDArray[np.float64]


def k_center_distances(vectors_ND: Vectors, picks: int) -> Floats:
    """Return each row's Euclidean distance to the nearest row that was picked before it.

    The first row is picked first; then always the row that is farthest from all that were picked,
    the earlier one of two that are equally far. Distances of picked rows never rise, so rows sorted
    by (distance descending, place) stand in the order of the picks, and behind the last pick by
    their distance to the nearest one. The first row has no earlier pick; its distance is that of
    the second pick, so that it sorts first.

    Args:
        vectors_ND: finite numbers; the caller sorts the rows, by id.
        picks: how many rows are picked, at most all.

    Returns:
        distances_N, >= 0.
    """
    rows = len(vectors_ND)
    if rows == 0:
        return np.empty(0)
    vectors_ND = _centred(vectors_ND)
    squares_N = np.einsum("nd,nd->n", vectors_ND, vectors_ND, dtype=np.float64)
    nearest_N = np.full(rows, np.inf)  # squared distance to the nearest pick
    found_N = np.full(rows, np.nan)
    with one_thread():
        pick = 0
        for number in range(min(picks, rows)):
            if number:
                pick = int(np.argmax(nearest_N))  # the first of equal ones
                found_N[pick] = nearest_N[pick]
            to_pick_N = squares_N + squares_N[pick] - 2.0 * (vectors_ND @ vectors_ND[pick])
            np.maximum(to_pick_N, 0.0, out=to_pick_N)
            np.minimum(nearest_N, to_pick_N, out=nearest_N)
            nearest_N[pick] = -np.inf
    left_N = np.isnan(found_N)
    found_N[left_N] = nearest_N[left_N]
    found_N[0] = found_N[1:].max(initial=0.0)
    roots_N: NDArray[np.float64] = np.sqrt(found_N)
    return roots_N


def _centred(vectors_ND: Vectors) -> Vectors:
    """Return the vectors without what they have in common: squares of it would cancel in float32.

    That is their mean, rounded to a power of two below their spread, so that round numbers stay so.
    """
    low_D = vectors_ND.min(axis=0).astype(np.float64)
    spread_D = vectors_ND.max(axis=0) - low_D
    step_D = np.ldexp(1.0, np.frexp(spread_D)[1] - 2)
    mean_D = vectors_ND.mean(axis=0, dtype=np.float64)
    middle_D = np.where(spread_D > 0, np.round(mean_D / step_D) * step_D, low_D)
    centred_ND = np.empty_like(vectors_ND)
    np.subtract(vectors_ND, middle_D, out=centred_ND, casting="same_kind")
    return centred_ND
