"""How far reward models agree: with each other, and with the length of the answers.

Array names carry their shape: N instructions, M crowd models, C cells (answers), K reward models,
B instructions of one block. Scores that are NaN or infinite are missing. Ranks are average ranks,
and their sums are whole numbers or rounded once: the order of the rows changes no bit.
"""

import math
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.metrics.combine import Floats, moments

BLOCK_ROWS = 2048  # with 19 models, 6 MB a comparison of all pairs
CHUNK = 4096  # products of doubled ranks that int64 can sum for 47 million cells


def agreement(scores: Mapping[str, Floats], lengths_NM: Floats | None = None) -> dict[str, Any]:
    """Compare reward models with each other and with the length of the answers.

    Input columns: per reward model an (N, M) array in its own unit, higher is better, NaN where
    missing; `lengths_NM` in any unit of length, NaN where there is no answer.

    Args:
        scores: the scores of each reward model, all of one shape.
        lengths_NM: the lengths of the answers, of the same shape.

    Returns:
        Plain JSON values; None where undefined (fewer than two values, or all of one side equal).
        pairs: for each two reward models a and b, in name order
            cells, spearman: over all answers that both score, -1..1.
            instructions, within_instruction: mean of the rho inside each instruction that has one.
            difficulty: rho of their mean scores per instruction.
        length: for each reward model the same, without difficulty, against the length: far above
            0, it may reward length.
        spread: mean over answers that two or more reward models score of the population standard
            deviation of their z-scores, in standard deviations; 0 is full agreement. A reward
            model whose scores are all equal has no z-scores.

    Raises:
        ValueError: arrays of different shapes.
    """
    clean = {name: _finite(scores[name]) for name in sorted(scores)}
    length_NM = None if lengths_NM is None else _finite(lengths_NM)
    shapes = {
        array.shape for array in [*clean.values(), *([] if length_NM is None else [length_NM])]
    }
    if len(shapes) > 1 or any(len(shape) != 2 for shape in shapes):
        raise ValueError(f"arrays of shapes {sorted(shapes)}, expected one (N, M) for all")
    pairs = [
        {
            "a": a,
            "b": b,
            **_compared(clean[a], clean[b]),
            "difficulty": _difficulty(clean[a], clean[b]),
        }
        for a, b in combinations(clean, 2)
    ]
    length = [
        {"reward_model": name, **_compared(score_NM, length_NM)}
        for name, score_NM in clean.items()
        if length_NM is not None
    ]
    return {"pairs": pairs, "length": length, "spread": mean_spread(clean)}


def spearman(x: Floats, y: Floats) -> float | None:
    """Return Spearman's rho over the cells that are present in both arrays, or None."""
    present = np.isfinite(x) & np.isfinite(y)
    if present.sum() < 2:
        return None
    u_C, v_C = _doubled_ranks(x[present]), _doubled_ranks(y[present])
    norm = math.sqrt(_dot(u_C, u_C) * _dot(v_C, v_C))
    return _dot(u_C, v_C) / norm if norm > 0 else None


def within_instruction(x_NM: Floats, y_NM: Floats) -> tuple[float | None, int]:
    """Return the mean over instructions of Spearman's rho inside each, and how many have one.

    An instruction has no rho with fewer than two cells present in both, or where one side is all
    equal; it leaves the mean.
    """
    rhos: list[float] = []
    for start in range(0, len(x_NM), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        present_BM = np.isfinite(x_NM[block]) & np.isfinite(y_NM[block])
        u_BM, v_BM = _beaten(x_NM[block], present_BM), _beaten(y_NM[block], present_BM)
        norm_B = np.sqrt(((u_BM * u_BM).sum(1) * (v_BM * v_BM).sum(1)).astype(np.float64))
        defined_B = norm_B > 0
        rhos += ((u_BM * v_BM).sum(1)[defined_B] / norm_B[defined_B]).tolist()
    return _mean(rhos), len(rhos)


def mean_spread(scores: Mapping[str, Floats]) -> float | None:
    """Return the mean over cells of the population standard deviation of their z-scores.

    Z-scores as METHOD, "Words": with the mean and the population standard deviation of all present
    scores of a reward model.
    """
    z_KNM = []
    for name in sorted(scores):
        score_NM = _finite(scores[name])
        found = moments(lambda score_NM=score_NM: iter([score_NM]))  # type: ignore[misc]
        if found.std > 0:
            z_KNM.append((score_NM - found.mean) / found.std)
    if len(z_KNM) < 2:
        return None
    z_KC = np.stack(z_KNM).reshape(len(z_KNM), -1)
    z_KC = z_KC[:, np.isfinite(z_KC).sum(axis=0) >= 2]
    return _mean(np.nanstd(z_KC, axis=0).tolist()) if z_KC.shape[1] else None


def _compared(x_NM: Floats, y_NM: Floats) -> dict[str, Any]:
    rho, instructions = within_instruction(x_NM, y_NM)
    return {
        "cells": int((np.isfinite(x_NM) & np.isfinite(y_NM)).sum()),
        "spearman": spearman(x_NM, y_NM),
        "instructions": instructions,
        "within_instruction": rho,
    }


def _difficulty(x_NM: Floats, y_NM: Floats) -> float | None:
    """Return the rho of mean scores per instruction (difficulty is minus them: the same rho)."""
    return spearman(_row_means(x_NM), _row_means(y_NM))


def _row_means(x_NM: Floats) -> Floats:
    """Return the mean of the present scores of every instruction, NaN where there is none."""
    means = [_mean([x for x in row if math.isfinite(x)]) for row in x_NM.tolist()]
    return np.array([math.nan if mean is None else mean for mean in means], dtype=np.float64)


def _mean(values: list[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _finite(array: Floats) -> Floats:
    """Return the array with NaN for what is infinite."""
    array = np.asarray(array, dtype=np.float64)
    return np.where(np.isfinite(array), array, np.nan)


def _doubled_ranks(x_C: Floats) -> NDArray[np.int64]:
    """Return twice the average rank less its mean: whole numbers."""
    rank_C = pl.Series(x_C).rank("average").to_numpy()
    doubled_C: NDArray[np.int64] = np.rint(2 * rank_C).astype(np.int64) - (len(x_C) + 1)
    return doubled_C


def _dot(u_C: NDArray[np.int64], v_C: NDArray[np.int64]) -> int:
    """Return the exact sum of products."""
    starts = range(0, len(u_C), CHUNK)
    return sum(int((u_C[s : s + CHUNK] * v_C[s : s + CHUNK]).sum()) for s in starts)


def _beaten(x_BM: Floats, present_BM: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return how many present cells of its instruction each beats, less how many beat it.

    That is twice its average rank less the mean, a whole number; 0 where it is missing.
    """
    x_BM = np.where(present_BM, x_BM, np.nan)
    above_BMM = (x_BM[:, :, None] > x_BM[:, None, :]).astype(np.int8)
    beats_BM: NDArray[np.int64] = above_BMM.sum(axis=2, dtype=np.int64)
    beaten_BM: NDArray[np.int64] = above_BMM.sum(axis=1, dtype=np.int64)
    return np.subtract(beats_BM, beaten_BM)
