"""Intervals, tests and power of paired differences between two arms of an experiment.

Source: METHOD, "Evaluation, exactly"; Nadeau and Bengio, "Inference for the generalization error",
Machine Learning 52 (2003); Holm, Scandinavian Journal of Statistics 6 (1979).

The unit is the replicate: both arms share its held-out split, its subsample, its draws and its
training seed, so a replicate gives one difference. Replicates draw from one pool, so their
differences are correlated, and the plain t interval is too narrow; without replicates the unit is
the training seed, and the plain t interval says how far the training alone scatters.

Array names carry their shape: R replicates, M comparisons, S draws of signs, Q quantiles.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEVEL = 0.95
POWER = 0.8
EXACT = 12  # replicates up to which every combination of signs is tried: 4,096 at most
SIGN_DRAWS = 100_000  # combinations that are drawn above that
BLOCK = 10_000  # of them at a time
SLACK = 1e-12  # two sums that differ by less, as a share, are one sum in another order
QUANTILES = 20_000  # of a chi distribution, over which a power is averaged


@dataclass(frozen=True)
class Paired:
    """The paired differences of two arms, in the unit of the metric.

    Attributes:
        difference: their mean.
        low, high: the ends of the t interval; NaN with a single replicate.
        p: two-sided, by sign flips, 0..1; never below 2 / 2^R, so above 0.05 up to 5 replicates.
        replicates: how many differences there are.
        detectable: the smallest true difference (absolute) that such an interval excludes 0 of with
            the power 0.8; NaN with a single replicate.
    """

    difference: float
    low: float
    high: float
    p: float
    replicates: int
    detectable: float


def paired(
    differences_R: Floats, heldout_share: float | None, *, level: float = LEVEL, seed: int = 0
) -> Paired:
    """Return mean, interval, p and smallest detectable difference of paired differences.

    mean -+ t(R - 1) * s * sqrt(c), s^2 the variance of the differences (ddof 1) and c the factor of
    `variance_factor`. METHOD, "Evaluation, exactly".

    Args:
        differences_R: one per replicate, a - b, finite.
        heldout_share: as `variance_factor`.
        level: of the interval, in (0, 1).
        seed: of the draws of signs, above 12 replicates.

    Raises:
        ValueError: as `t_interval`.
    """
    mean, low, high = t_interval(differences_R, heldout_share, level=level)
    n = len(differences_R)
    p = sign_flip_p(differences_R, seed=seed)
    if n == 1:
        return Paired(mean, low, high, p, n, math.nan)
    error = standard_error(differences_R, heldout_share)
    return Paired(mean, low, high, p, n, noncentrality(n, level=level) * error)


def t_interval(
    values_R: Floats, heldout_share: float | None, *, level: float = LEVEL
) -> tuple[float, float, float]:
    """Return the mean and the ends of its t interval; the ends are NaN for a single value.

    Args:
        values_R: one per replicate, finite.
        heldout_share: as `variance_factor`.
        level: of the interval, in (0, 1).

    Raises:
        ValueError: no value, one that is not finite, a share outside of (0, 1).
    """
    _check(values_R)
    mean = float(np.mean(values_R))
    if len(values_R) == 1:
        variance_factor(1, heldout_share)  # a wrong share is an error here too
        return mean, math.nan, math.nan
    from scipy.stats import t

    half = float(t.ppf((1 + level) / 2, len(values_R) - 1))
    half *= standard_error(values_R, heldout_share)
    return mean, mean - half, mean + half


def standard_error(values_R: Floats, heldout_share: float | None) -> float:
    """Return sqrt(c) * s: the standard deviation (ddof 1) times the root of `variance_factor`."""
    factor = variance_factor(len(values_R), heldout_share)
    return float(np.std(values_R, ddof=1)) * math.sqrt(factor)


def variance_factor(replicates: int, heldout_share: float | None) -> float:
    """Return by what the variance of R differences is multiplied to get that of their mean.

    1/R + share/(1 - share): Nadeau and Bengio's correction for replicates that split one pool. It
    is exact where two replicates' differences correlate by the held-out share. 1/R where the
    replicates share no pool to split, i.e. for training seeds.

    Args:
        replicates: R, from 1.
        heldout_share: the share of the pool that a replicate holds out, in (0, 1); None where
            nothing but the training seed differs between the replicates.

    Raises:
        ValueError: R below 1, or a share outside of (0, 1).
    """
    if replicates < 1:
        raise ValueError(f"{replicates} replicates: expected 1 or more")
    if heldout_share is None:
        return 1 / replicates
    if not 0 < heldout_share < 1:
        raise ValueError(f"a held-out share of {heldout_share}: expected one between 0 and 1")
    return 1 / replicates + heldout_share / (1 - heldout_share)


def sign_flip_p(differences_R: Floats, *, draws: int = SIGN_DRAWS, seed: int = 0) -> float:
    """Return the two-sided p of no difference: how often flipped signs give as large a mean.

    Exact over all 2^R signs up to 12 replicates; above, (1 + hits) / (1 + draws) over seeded draws.
    It takes the replicates for independent: where their pools overlap it is smaller than it should
    be, and the interval is the stricter of the two.

    Args:
        differences_R: one per replicate, finite.
        draws: combinations of signs that are drawn above 12 replicates.
        seed: of these.

    Raises:
        ValueError: no difference, or one that is not finite.
    """
    _check(differences_R)
    n = len(differences_R)
    least = abs(float(differences_R.sum())) - SLACK * float(np.abs(differences_R).sum())
    if n <= EXACT:
        codes = np.arange(2 ** (n - 1))  # the other half are the same with all signs turned
        signs_SR = 1.0 - 2.0 * (codes[:, None] >> np.arange(n) & 1)
        return float(np.mean(np.abs(signs_SR @ differences_R) >= least))
    signs = _drawn_signs(n, draws, seed)
    hits = 0
    for start in range(0, draws, BLOCK):
        signs_SR = 1.0 - 2.0 * signs[start : start + BLOCK]
        hits += int((np.abs(signs_SR @ differences_R) >= least).sum())
    return (1 + hits) / (1 + draws)


def holm(p_M: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p of every comparison, in the order given.

    With p sorted ascending: p_holm(i) = max over j <= i of min(1, (M - j + 1) * p(j)). It bounds
    the chance of any false finding among the M, whatever their dependence.
    """
    adjusted = [0.0] * len(p_M)
    least = 0.0
    for place, i in enumerate(sorted(range(len(p_M)), key=lambda i: p_M[i])):
        least = max(least, min(1.0, (len(p_M) - place) * p_M[i]))
        adjusted[i] = least
    return adjusted


@lru_cache(maxsize=256)
def noncentrality(replicates: int, *, level: float = LEVEL, power: float = POWER) -> float:
    """Return how many standard errors a true difference has, that is found with a given power.

    The d for which P(|T| > t(R - 1)) = power, T noncentral t with R - 1 degrees of freedom and
    noncentrality d: 2.80 for many replicates, 3.15 for ten, 16.3 for two.

    Args:
        replicates: R, from 2.
        level: of the interval that must exclude 0.
        power: the chance that it does, above 1 - level.

    Raises:
        ValueError: fewer than 2 replicates.
    """
    if replicates < 2:
        raise ValueError(f"{replicates} replicates: expected 2 or more for a power")
    from scipy.optimize import brentq
    from scipy.special import ndtr
    from scipy.stats import chi2, t

    df = replicates - 1
    limit = float(t.ppf((1 + level) / 2, df))
    # |T| > limit is |Z + d| > limit * W, with W^2 a chi-square over its degrees of freedom. Taken
    # over W's quantiles: scipy's noncentral t is NaN for some of these values.
    scaled_Q = limit * np.sqrt(chi2.ppf((np.arange(QUANTILES) + 0.5) / QUANTILES, df) / df)

    def lacking(d: float) -> float:
        return float(np.mean(ndtr(d - scaled_Q) + ndtr(-d - scaled_Q))) - power

    return float(brentq(lacking, 0.0, 10 * limit))


@lru_cache(maxsize=2)
def _drawn_signs(replicates: int, draws: int, seed: int) -> NDArray[np.int8]:
    """Draw 0 or 1 per draw and replicate; an experiment asks for the same ones many times."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 2, size=(draws, replicates), dtype=np.int8)


def _check(differences_R: Floats) -> None:
    if not len(differences_R):
        raise ValueError("no value: expected one per replicate")
    if not np.isfinite(differences_R).all():
        raise ValueError("a value is not finite: leave such replicates out and name them")
