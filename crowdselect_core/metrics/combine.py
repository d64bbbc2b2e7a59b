"""From the scores of several reward models to one score per answer.

Source: METHOD, "Words". Every reward model is z-scored with the mean and the population standard
deviation of all its present scores; an answer's score is the mean of the z-scores it has. The
moments are exact sums, rounded once, so neither the order of the rows nor the number of shards
changes a bit of them.

Array names carry their shape: N rows (instructions), M crowd models.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crowdselect_core.errors import DatasetError, shown

Floats = NDArray[np.float64]

CHUNK = 65_536  # scores that are Python floats at one time


@dataclass(frozen=True)
class Moments:
    """What z-scores one reward model.

    Attributes:
        mean: the mean of its present scores, in its own unit; 0 when it has none.
        std: their population standard deviation, in its own unit; exactly 0 when all are equal.
        n: how many scores are present.
    """

    mean: float
    std: float
    n: int


def moments(blocks: Callable[[], Iterable[Floats]]) -> Moments:
    """Compute the exact mean and population standard deviation of all present scores.

    mean = sum(c)/n, std = sqrt(sum((c - mean)^2)/n), each sum rounded once (math.fsum), over all
    blocks together. METHOD, "Words".

    Input columns: arrays of any shape, the reward model's unit; NaN and infinite are missing.

    Args:
        blocks: returns a fresh iterator over the same blocks each time; it is called twice.

    Raises:
        DatasetError: scores so large that their sum or their variance is no number.
    """
    n, low, high = 0, math.inf, -math.inf

    def counted() -> Iterator[float]:
        nonlocal n, low, high
        for chunk in _present(blocks()):
            n += len(chunk)
            low, high = min(low, min(chunk)), max(high, max(chunk))
            yield from chunk

    try:
        total = math.fsum(counted())
        if n == 0:
            return Moments(0.0, 0.0, 0)
        if low == high:  # the rounded mean may miss the one value there is
            return Moments(low, 0.0, n)
        mean = total / n
        squares = ((c - mean) * (c - mean) for chunk in _present(blocks()) for c in chunk)
        std = math.sqrt(math.fsum(squares) / n)
    except OverflowError:
        std = math.inf
    if not math.isfinite(std):
        raise DatasetError(
            f"scores between {low:g} and {high:g} are too large for a mean and a deviation: "
            "correct the reward model's scores (null where there is none)"
        )
    return Moments(mean, std, n)


def usable(moments_of: Mapping[str, Moments]) -> list[str]:
    """Return the reward models that tell answers apart, in name order.

    Args:
        moments_of: the moments of each reward model.

    Raises:
        DatasetError: none is left.
    """
    flat = _flat(moments_of)
    if len(flat) == len(moments_of):
        raise DatasetError(
            f"reward models {shown(flat)}: each gives every answer the same score or none, so "
            "nothing tells the answers apart: score with another reward model"
        )
    return sorted(set(moments_of) - set(flat))


def left_out(moments_of: Mapping[str, Moments]) -> list[str]:
    """Return a note for the user on each reward model that `usable` leaves out, in name order."""
    notes = []
    for name in _flat(moments_of):
        n = moments_of[name].n
        why = f"its {n} scores are all equal" if n else "it has no scores"
        notes.append(f"reward model {name} is left out: {why}")
    return notes


def _flat(moments_of: Mapping[str, Moments]) -> list[str]:
    return sorted(name for name, m in moments_of.items() if m.std == 0)


def combine(
    scores_by_reward: Mapping[str, Floats],
    moments_of: Mapping[str, Moments],
) -> Floats:
    """Join the scores of all reward models into one score per answer.

    One reward model: its scores as they are, the same array where none is infinite. Several: c =
    mean over the reward models with a score of (score - mean)/std, summed in name order; a
    reward model whose scores are all equal is left out (see `left_out`). METHOD, "Words".

    Input columns: per reward model an (N, M) array in its own unit, higher is better; NaN and
    infinite are missing.
    Output columns: c_NM, higher is better, NaN where missing. One reward model: its unit.
    Several: standard deviations above the reward model's mean, unbounded.

    Args:
        scores_by_reward: the scores of each reward model, all of one shape.
        moments_of: the moments of the same reward models over the whole data set; not read for a
            single one.

    Raises:
        DatasetError: no reward model, or none that tells answers apart.
        ValueError: several reward models and one of them without moments.
    """
    if not scores_by_reward:
        raise DatasetError("no reward model: name at least one that has scores")
    if len(scores_by_reward) == 1:
        (only_NM,) = scores_by_reward.values()
        return _without_infinite(only_NM)
    if unknown := sorted(set(scores_by_reward) - set(moments_of)):
        raise ValueError(f"no moments for reward models {unknown}, found {sorted(moments_of)}")
    names = usable({name: moments_of[name] for name in scores_by_reward})
    total_NM = np.zeros_like(scores_by_reward[names[0]], dtype=np.float64)
    n_NM = np.zeros(total_NM.shape, dtype=np.int64)
    for name in names:
        score_NM = scores_by_reward[name]
        present_NM = np.isfinite(score_NM)
        filled_NM = np.where(present_NM, score_NM, moments_of[name].mean)  # adds a z of 0
        total_NM += (filled_NM - moments_of[name].mean) / moments_of[name].std
        n_NM += present_NM
    with np.errstate(invalid="ignore"):
        return np.where(n_NM > 0, total_NM / n_NM, np.nan)


def best_score(c_NM: Floats) -> Floats:
    """Return the best present score of every row, NaN for a row without any.

    Input columns: c_NM, higher is better, NaN or infinite where missing.
    Output columns: the row's maximum, in the same unit.
    """
    if c_NM.shape[1] == 0:
        return np.full(len(c_NM), np.nan)
    best_N: Floats = np.fmax.reduce(_without_infinite(c_NM), axis=1)
    return best_N


def _without_infinite(scores_NM: Floats) -> Floats:
    """Return scores with NaN in the place of infinite ones; a copy only where there are any."""
    infinite_NM = np.isinf(scores_NM)
    return np.where(infinite_NM, np.nan, scores_NM) if infinite_NM.any() else scores_NM


def _present(blocks: Iterable[Floats]) -> Iterator[list[float]]:
    """Yield the present scores of all blocks, a bounded list at a time."""
    for block in blocks:
        flat = np.asarray(block, dtype=np.float64).ravel()
        for start in range(0, len(flat), CHUNK):
            chunk = flat[start : start + CHUNK]
            if kept := chunk[np.isfinite(chunk)].tolist():
                yield kept
