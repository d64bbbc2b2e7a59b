"""How many rows two choices share, and how many two random ones would.

Array names carry their shape: N rows of the pool, C clusters, K sizes of an overlap, B chosen rows.
"""

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import combinations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.experiment.choices import Choice
from crowdselect_core.experiment.schemas import OVERLAPS
from crowdselect_core.experiment.statistics import t_interval
from crowdselect_core.selection.candidates import Candidates
from crowdselect_core.selection.ranked_pool import Places

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Whole = NDArray[np.signedinteger]

NEGLIGIBLE = 1e-18  # chance of an overlap that is left out
Strata = tuple[tuple[int, int, int], ...]


def overlaps(choices: Iterable[Choice], heldout_share: float | None) -> pl.DataFrame:
    """Return how much of the choice every pair of cells of one budget shares.

    Output columns (schemas.OVERLAPS), by budget and cells in the order of `choices`:
        jaccard: |A and B| / |A or B|, 0..1, mean over the replicates that both cells have.
        expected: its exact expectation for two random choices of these sizes (see `chance`), mean
            over the same replicates.
        low, high: 95 % t interval of jaccard over replicates, inside 0..1, corrected as
            `statistics.t_interval`; null below two replicates.
    Pairs that share no replicate are left out.

    Args:
        choices: each cell once per replicate.
        heldout_share: the share that every replicate holds out; None where none does.
    """
    by_budget: dict[float, dict[int, list[Choice]]] = {}
    places: dict[str, int] = {}
    for choice in choices:
        places.setdefault(choice.cell, len(places))
        by_budget.setdefault(choice.budget, {}).setdefault(choice.replicate, []).append(choice)
    rows = []
    for budget, by_replicate in by_budget.items():
        found: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for made in by_replicate.values():
            made = sorted(made, key=lambda choice: places[choice.cell])
            for (a, b), both in _pairs(made):
                found.setdefault((a, b), []).append(both)
        for (a, b), values in sorted(
            found.items(), key=lambda f: (places[f[0][0]], places[f[0][1]])
        ):
            rows.append((a, b, budget, *_over_replicates(values, heldout_share)))
    return pl.DataFrame(rows, schema=dict(OVERLAPS), orient="row")


def jaccard(shared: int, a: int, b: int) -> float:
    """Return |A and B| / |A or B| from three sizes, 0..1; 0 where both are empty."""
    return shared / (a + b - shared) if a + b else 0.0


def shared_rows(a_B: Places, b_B: Places, n: int) -> int:
    """Return how many positions below n two choices have in common."""
    chosen_N = np.zeros(n, dtype=np.bool_)
    chosen_N[a_B] = True
    return int(chosen_N[b_B].sum())


@lru_cache(maxsize=4096)
def chance(strata: Strata) -> tuple[float, float]:
    """Return the expected overlap in rows and the expected Jaccard index of two random choices.

    In each stratum of e rows, a and b of them are drawn independently: their overlap is
    hypergeometric, P(k) = C(a, k) C(e - a, b - k) / C(e, b). The strata's overlaps add up, so their
    distributions are convolved, and E[X / (A + B - X)] is taken over the sum.

    Args:
        strata: (e, a, b) of each cluster, or of the whole pool; a and b at most e.
    """
    total_a, total_b = sum(s[1] for s in strata), sum(s[2] for s in strata)
    if not total_a + total_b:
        return 0.0, 0.0
    start, chance_K = 0, np.ones(1)
    for rows, a, b in strata:
        if a and b:
            first, more_K = _hypergeometric(rows, a, b)
            start, chance_K = start + first, np.convolve(chance_K, more_K)
    shared_K = start + np.arange(len(chance_K))
    chance_K = chance_K / chance_K.sum()
    index_K = shared_K / (total_a + total_b - shared_K)
    return float(chance_K @ shared_K), float(chance_K @ index_K)


def strata_of(a: Choice, b: Choice) -> Strata:
    """Return within what two choices would be random: clusters that both have, else the pool.

    Where the two arms may choose from different rows, the stratum's size is e_a * e_b / e_both,
    which gives the overlap that two random choices of these have on average.
    """
    cluster_N = a.ranked.cluster_N
    if cluster_N is None or b.ranked.cluster_N is not cluster_N:
        cluster_N = None
    a_C, b_C, both_C = (_counts(e, cluster_N) for e in _eligible(a.ranked, b.ranked))
    if cluster_N is None:
        chosen = [np.array([len(a.rows_B)]), np.array([len(b.rows_B)])]
    else:
        chosen = [np.bincount(cluster_N[c.rows_B], minlength=len(a_C)) for c in (a, b)]
    strata = []
    for place in np.flatnonzero(both_C):
        rows = round(int(a_C[place]) * int(b_C[place]) / int(both_C[place]))
        took = [int(c[place]) for c in chosen]
        strata.append((max(rows, *took), *took))
    lone = [(int(a_C[i]), int(chosen[0][i]), 0) for i in np.flatnonzero(both_C == 0)]
    lone += [(int(b_C[i]), 0, int(chosen[1][i])) for i in np.flatnonzero(both_C == 0)]
    return tuple((rows, x, y) for rows, x, y in [*strata, *lone] if x or y)


def _pairs(made: Sequence[Choice]) -> Iterable[tuple[tuple[str, str], tuple[float, float]]]:
    """Yield the Jaccard index of every pair of choices of a replicate, and what chance gives."""
    for a, b in combinations(made, 2):
        shared = shared_rows(a.rows_B, b.rows_B, len(a.ranked.score_N))
        index = jaccard(shared, len(a.rows_B), len(b.rows_B))
        yield (a.cell, b.cell), (index, chance(strata_of(a, b))[1])


def _over_replicates(
    values: Sequence[tuple[float, float]], heldout_share: float | None
) -> tuple[float, float, float | None, float | None]:
    index_R = np.array([index for index, _ in values])
    expected = math.fsum(e for _, e in values) / len(values)
    if len(values) == 1:
        return float(index_R[0]), expected, None, None
    mean, low, high = t_interval(index_R, heldout_share)
    return mean, expected, max(low, 0.0), min(high, 1.0)


def _eligible(a: Candidates, b: Candidates) -> tuple[NDArray[np.bool_], ...]:
    if a.eligible_N is b.eligible_N:
        return (a.eligible_N,) * 3
    return a.eligible_N, b.eligible_N, a.eligible_N & b.eligible_N


def _counts(eligible_N: NDArray[np.bool_], cluster_N: Whole | None) -> Ints:
    if cluster_N is None:
        return np.array([int(eligible_N.sum())])
    return np.bincount(cluster_N[eligible_N], minlength=int(cluster_N.max()) + 1)


def _hypergeometric(rows: int, a: int, b: int) -> tuple[int, Floats]:
    """Return the chances of every overlap that is not negligible, and the first of them."""
    least, most = max(0, a + b - rows), min(a, b)
    mode = (a + 1) * (b + 1) // (rows + 2)
    deviation = math.sqrt(a * b / rows * (rows - a) / rows * (rows - b) / max(rows - 1, 1))
    width = 12 * math.ceil(deviation) + 30
    first, last = max(least, mode - width), min(most, mode + width)
    k_K = np.arange(first, last + 1)
    log_K = _log_choose(a, k_K) + _log_choose(rows - a, b - k_K)
    chance_K = np.exp(log_K - log_K.max())
    chance_K /= chance_K.sum()
    (kept,) = np.nonzero(chance_K > NEGLIGIBLE)
    return first + int(kept[0]), chance_K[kept[0] : kept[-1] + 1]


def _log_choose(n: int, k_K: Ints) -> Floats:
    from scipy.special import gammaln

    result: Floats = gammaln(n + 1.0) - gammaln(k_K + 1.0) - gammaln(n - k_K + 1.0)
    return result
