"""Deita: complexity x quality, then rows that resemble a better one are dropped.

Source: Liu et al., arXiv 2312.15685, and its published filter with batch size 1: one row at a time.
Array names carry their shape: E rows in rank order, best first, D components.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.util.single_thread import one_thread

Floats = NDArray[np.float32]
Turns = float | Sequence[float | None] | None

BLOCK = 512  # rows whose similarities are computed together

NO_COMPLEXITY, NO_QUALITY, UNLIKE = "no_complexity", "no_quality", "turns_differ"
SIMILAR = "too_similar"


def deita_score(complexity: Turns, quality: Turns) -> tuple[float | None, str | None]:
    """Return sum over turns of complexity * quality, or why there is none.

    A missing score is never replaced by a default: the row has no score.

    Args:
        complexity: of the row, or of each of its turns.
        quality: the same.

    Returns:
        The score and None, or None and the reason.
    """
    one, other = _turns(complexity), _turns(quality)
    if one is None:
        return None, NO_COMPLEXITY
    if other is None:
        return None, NO_QUALITY
    if len(one) != len(other):
        return None, UNLIKE
    return sum(c * q for c, q in zip(one, other, strict=True)), None


def deita_scores(complexity: pl.Series, quality: pl.Series) -> pl.DataFrame:
    """Return complexity, quality, deita (the score) and lacks of rows; see `deita_score`."""
    pairs = zip(complexity.to_list(), quality.to_list(), strict=True)
    found = [deita_score(c, q) for c, q in pairs]
    return pl.DataFrame(
        {
            "complexity": complexity,
            "quality": quality,
            "deita": pl.Series([score for score, _ in found], dtype=pl.Float64),
            "lacks": pl.Series([why for _, why in found], dtype=pl.String),
        }
    )


def dissimilar(vectors_ED: Floats, threshold: float, most: int | None = None) -> NDArray[np.bool_]:
    """Tell which rows are kept: those whose cosine to no kept row before them is above a threshold.

    Args:
        vectors_ED: best row first.
        threshold: 0.9 as published; a cosine equal to it is kept.
        most: kept rows after which the filter ends, as the published one does with a full budget;
            the rows behind count as kept. Without it, all rows are filtered.

    Returns:
        kept_E. Time grows with the rows up to the end x kept rows; memory holds the kept vectors
        once more.
    """
    rows = len(vectors_ED)
    lengths_E = np.linalg.norm(vectors_ED, axis=1, keepdims=True)
    unit_ED = vectors_ED / np.where(lengths_E > 0, lengths_E, 1.0)
    kept_E = np.zeros(rows, dtype=bool)
    limit = rows if most is None else min(most, rows)
    kept_KD = np.empty((limit, unit_ED.shape[1]), dtype=unit_ED.dtype)
    count = 0
    with one_thread():
        for start in range(0, rows, BLOCK):
            block_BD = unit_ED[start : start + BLOCK]
            highest_B = np.full(len(block_BD), -np.inf, dtype=np.float32)
            if count:
                highest_B = (block_BD @ kept_KD[:count].T).max(axis=1)
            inside_BB = block_BD @ block_BD.T
            for place in range(len(block_BD)):
                if count == limit:
                    kept_E[start + place :] = True
                    return kept_E
                if highest_B[place] > threshold:
                    continue
                kept_E[start + place] = True
                kept_KD[count] = block_BD[place]
                count += 1
                later_B = highest_B[place + 1 :]
                np.maximum(later_B, inside_BB[place, place + 1 :], out=later_B)
    return kept_E


def _turns(scores: Turns) -> list[float] | None:
    """Return the scores of the turns, None where one is missing or not finite."""
    if scores is None:
        return None
    found = [scores] if isinstance(scores, int | float) else list(scores)
    known = [float(v) for v in found if v is not None and np.isfinite(v)]
    return known if known and len(known) == len(found) else None
