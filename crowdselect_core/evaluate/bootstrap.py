"""Percentile bootstrap over questions, in closed form.

A result is a ratio of sums over questions, so a round needs no resampled rows: with c_RQ, how often
round r draws question q, every model's result of every round is (c @ total) / (c @ weight).

Array names carry their shape: R rounds, Q questions, M models.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ROUNDS = 1_000
LEVEL = 95.0  # per cent of the rounds that lie inside an interval


def draws(questions: int, rounds: int = ROUNDS, seed: int = 0) -> Floats:
    """Draw so many questions with replacement, in every round.

    Returns:
        counts_RQ: how often each was drawn; every row sums to the number of questions.
    """
    rng = np.random.default_rng(seed)
    chances = np.full(questions, 1.0 / questions)
    return rng.multinomial(questions, chances, size=rounds).astype(np.float64)


def ratios(total_QM: Floats, weight_QM: Floats, counts_RQ: Floats) -> Floats:
    """Return every round's result: sum of totals over sum of weights; NaN where nothing weighs."""
    total_RM, weight_RM = counts_RQ @ total_QM, counts_RQ @ weight_QM
    return np.divide(
        total_RM, weight_RM, out=np.full_like(total_RM, np.nan), where=weight_RM > 0
    )  # fmt: skip


def interval(results_RM: Floats, level: float = LEVEL) -> tuple[Floats, Floats]:
    """Return the bounds between which the middle `level` per cent of the rounds lie.

    Rounds without a result (NaN) are left out; a model without any has NaN for bounds.
    """
    tail = (100.0 - level) / 2
    known_M = ~np.isnan(results_RM).all(axis=0)
    low_M, high_M = (np.full(results_RM.shape[1], np.nan) for _ in range(2))
    if known_M.any():
        bounds = np.nanpercentile(results_RM[:, known_M], [tail, 100.0 - tail], axis=0)
        low_M[known_M], high_M[known_M] = bounds
    return low_M, high_M
