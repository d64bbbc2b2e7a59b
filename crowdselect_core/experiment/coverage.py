"""How often the intervals of an experiment hold the truth: a simulation of whole experiments.

One draw is one experiment: a pool of rows comes from an infinite population, and every replicate
holds out a share of that one pool, takes a subsample of the rest, lets both arms choose from it,
trains two students and takes the difference of their losses on the rows held out. The truth is the
mean difference over pools and replicates. So replicates overlap as they do in an experiment: in the
rows held out, in the subsample and in what the arms choose.

A row has a target y in D dimensions and a noise level; arm a takes the rows of least noise (of what
it can see of it), arm b a random draw. A student is the mean target of its rows, with the noise of
its training seed; its loss on a row is half the squared distance.

Array names carry their shape: R replicates, N rows of a pool, D dimensions, S draws.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crowdselect_core.experiment.statistics import LEVEL, sign_flip_p, variance_factor

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

COUNTS = (3, 5, 10, 20, 50)
DRAWS = 2_000
DIMENSIONS = 4
SIGN_FLIPS = 10  # replicates at which p is simulated too


@dataclass(frozen=True)
class Scenario:
    """What an experiment is like.

    Attributes:
        name: in words.
        rows: of the pool; heldout and subsample: shares, of the pool and of what is left of it.
        budget: rows that an arm chooses.
        effect: how far arm a's student is moved towards a fixed point whatever it chose: a
            difference between the arms that every row feels to its own degree.
        seed_noise: standard deviation of a student that its training seed makes.
        heavy: whether the targets have heavy, skewed tails, as losses do.
        converged: whether the students do not depend on the rows they are trained on.
        chooses: whether arm a chooses by noise; else it draws too and nothing tells the arms apart.
    """

    name: str
    rows: int = 300
    heldout: float = 1 / 3
    subsample: float = 0.8
    budget: int = 64
    effect: float = 0.0
    seed_noise: float = 0.0
    heavy: bool = False
    converged: bool = False
    chooses: bool = True


SCENARIOS = (
    Scenario("only the held-out rows vary", effect=1.0, converged=True),
    Scenario("the same, heavy tails", effect=1.0, converged=True, heavy=True),
    Scenario("chosen and held-out rows vary", effect=1.0),
    Scenario("the training seed varies most", budget=32, seed_noise=0.2),
    Scenario("nearly the same rows chosen", heldout=0.1, subsample=1.0, budget=16, effect=1.0),
    Scenario("no difference between the arms", chooses=False),
)


@dataclass(frozen=True)
class Coverage:
    """What the intervals of one number of replicates are worth, over all draws.

    Attributes:
        replicates: how many.
        corrected: share of the corrected intervals that hold the truth; 0.95 is the promise.
        plain: the same of the plain t interval over the same replicates.
        half_width: mean half width of the corrected interval, in standard deviations of a single
            replicate's difference.
    """

    replicates: int
    corrected: float
    plain: float
    half_width: float


@dataclass(frozen=True)
class Simulated:
    """The coverage of a scenario.

    Attributes:
        correlation: of two replicates' differences, over pools; the correction is exact where it is
            the held-out share.
        coverage: per number of replicates.
        rejected: share of the draws whose sign flips, at 10 replicates, give p <= 0.05 to the true
            difference; 0.05 is the promise. None where 10 is not simulated.
    """

    correlation: float
    coverage: list[Coverage]
    rejected: float | None


def simulate(
    scenario: Scenario,
    counts: Sequence[int] = COUNTS,
    draws: int = DRAWS,
    seed: int = 0,
) -> Simulated:
    """Return the coverage of 95 % intervals over `draws` experiments.

    Args:
        scenario: what the experiments are like.
        counts: numbers of replicates, each from 2; the first so many of the same experiment.
        draws: experiments.
        seed: of everything that is drawn.
    """
    rng = np.random.default_rng(seed)
    most = max(counts)
    differences_SR = np.stack([differences(scenario, most, rng) for _ in range(draws)])
    truth = float(differences_SR.mean()) if scenario.chooses or scenario.effect else 0.0
    spread = float(differences_SR.std())
    centred_SR = differences_SR - truth
    between = (centred_SR.sum(axis=1) ** 2 - (centred_SR**2).sum(axis=1)) / (most * (most - 1))
    rejected = None
    if SIGN_FLIPS in counts:
        p_S = [sign_flip_p(row_R[:SIGN_FLIPS]) for row_R in centred_SR]
        rejected = float(np.mean(np.array(p_S) <= 1 - LEVEL + 1e-9))
    covered = [_coverage(differences_SR[:, :n], truth, spread, scenario.heldout) for n in counts]
    return Simulated(float(between.mean()) / spread**2, covered, rejected)


def differences(scenario: Scenario, replicates: int, rng: np.random.Generator) -> Floats:
    """Run one experiment: return the difference of the arms' losses in every replicate."""
    n = scenario.rows
    held = round(n * scenario.heldout)
    taken = round((n - held) * scenario.subsample)
    noise_N = rng.lognormal(0.0, 0.5, n)
    y_ND = noise_N[:, None] * rng.normal(size=(n, DIMENSIONS))
    if scenario.heavy:
        y_ND += rng.lognormal(0.0, 1.0, (n, DIMENSIONS)) - np.exp(0.5)
    seen_N = noise_N * rng.lognormal(0.0, 0.3, n)  # arm a does not see the noise itself
    order_RN = rng.permuted(np.tile(np.arange(n), (replicates, 1)), axis=1)
    held_RH, free_RF = order_RN[:, :held], order_RN[:, held : held + taken]
    chosen_RB = free_RF[:, : scenario.budget]
    if scenario.chooses:
        best = np.argsort(seen_N[free_RF], axis=1)[:, : scenario.budget]
        chosen_RB = np.take_along_axis(free_RF, best, axis=1)
    drawn_RB = rng.permuted(free_RF, axis=1)[:, : scenario.budget]
    a_RD = _student(scenario, y_ND, chosen_RB, rng)
    a_RD[:, 0] += scenario.effect
    b_RD = _student(scenario, y_ND, drawn_RB, rng)
    # mean over the held-out rows of |y - a|^2 / 2 - |y - b|^2 / 2
    mean_RD = y_ND[held_RH].mean(axis=1)
    squares_R = ((a_RD**2).sum(axis=1) - (b_RD**2).sum(axis=1)) / 2
    result_R: Floats = squares_R - (mean_RD * (a_RD - b_RD)).sum(axis=1)
    return result_R


def _student(scenario: Scenario, y_ND: Floats, rows_RB: Ints, rng: np.random.Generator) -> Floats:
    trained_RD: Floats = y_ND[rows_RB].mean(axis=1) * (not scenario.converged)
    return trained_RD + scenario.seed_noise * rng.normal(size=trained_RD.shape)


def _coverage(differences_SR: Floats, truth: float, spread: float, heldout: float) -> Coverage:
    from scipy.stats import t

    n = differences_SR.shape[1]
    off_S = np.abs(differences_SR.mean(axis=1) - truth)
    std_S = differences_SR.std(axis=1, ddof=1)
    times = float(t.ppf((1 + LEVEL) / 2, n - 1))
    half_S = times * std_S * np.sqrt(variance_factor(n, heldout))
    plain_S = times * std_S * np.sqrt(variance_factor(n, None))
    return Coverage(
        n,
        float(np.mean(off_S <= half_S)),
        float(np.mean(off_S <= plain_S)),
        float(half_S.mean()) / spread,
    )
