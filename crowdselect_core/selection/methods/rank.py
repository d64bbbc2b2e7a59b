"""The methods that rank rows: CrowdSelect and the baselines that need no further model.

Source: METHOD, "Baselines that must stand beside it"; arXiv 2503.01836, section 4. Each returns
tables.RANKING in input order, like `integrate`, and differs in the score and in who is eligible.

Array names carry their shape: N rows (instructions).
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.config.metric_weights import WEIGHTS, check_weights
from crowdselect_core.errors import ConfigError, nearest, shown
from crowdselect_core.selection.eligibility import metric_columns, reasons
from crowdselect_core.selection.integration import ranking_table, weighted
from crowdselect_core.selection.metric_weights import METHODS, method_weights
from crowdselect_core.selection.quantiles import References, metric_quantiles
from crowdselect_core.util.hashed_random import uniform
from crowdselect_core.util.notes import Warn, log_warning

Floats = NDArray[np.float64]
UNWEIGHTED = ("random", "reward")


def rank(
    metrics: pl.DataFrame,
    *,
    method: str = "crowdselect",
    direction: str = "top",
    weights: Sequence[float] = WEIGHTS,
    min_scores: int = 2,
    seed: int = 0,
    best_scores: pl.Series | Floats | None = None,
    sorted_R_of: References | None = None,
    warn: Warn = log_warning,
) -> pl.DataFrame:
    """Rank the rows by one method, best first (`top`) or worst first (`bottom`).

    `bottom` negates the weights, or the score of a method without weights.

    Input columns: as `integrate`; for random and reward the metrics may be absent.
    Output columns (tables.RANKING, in input order): as `integrate`, the score being the method's.

    Args:
        metrics: one row per instruction.
        method: crowdselect, difficulty, separability, stability, headroom, random or reward.
        direction: "top" or "bottom".
        weights: of difficulty, separability, stability and, if given, headroom, for crowdselect.
        min_scores: how many scores a row needs, where the method reads the metrics.
        seed: of random.
        best_scores: the best response's score of each row of `metrics`, for reward; of several
            samples that of the best single one.
        sorted_R_of: as in `integrate`.
        warn: as in `integrate`.

    Raises:
        ConfigError: an unknown method or direction, wrong weights, reward without `best_scores`.
        DatasetError: as `integrate`.
    """
    if direction not in ("top", "bottom"):
        raise ConfigError(f"direction {direction!r} is unknown, expected top or bottom")
    used = method_weights(method, check_weights(weights))
    if used is not None:
        sign = 1 if direction == "top" else -1
        d, s, t, h = (sign * weight for weight in used)
        return weighted(metrics, (d, s, t, h), min_scores, sorted_R_of, warn)
    if method == "random":
        ranking = rank_random(metrics, seed, sorted_R_of)
    elif method == "reward":
        if best_scores is None:
            raise ConfigError("method 'reward' needs best_scores: the best score of each row")
        ranking = rank_reward(metrics, best_scores, sorted_R_of)
    else:
        known = [*METHODS, *UNWEIGHTED]
        raise ConfigError(f"method {method!r} is unknown{nearest(method, known)} ({shown(known)})")
    if direction == "bottom":
        return ranking.with_columns(score=-pl.col("score"))
    return ranking


def rank_random(
    metrics: pl.DataFrame, seed: int, sorted_R_of: References | None = None
) -> pl.DataFrame:
    """Rank the rows at random: score = a draw from (seed, instruction_id), whatever the order.

    Input columns: instruction_id; answerable and barred as in `integrate`; metrics may be absent.
    Output columns (tables.RANKING): score: 0..1; reason: a barred text or no_answer.

    Args:
        metrics: one row per instruction.
        seed: another seed gives another order.
        sorted_R_of: as in `integrate`.

    Raises:
        DatasetError: as `integrate`.
    """
    frame = metric_columns(metrics, required=("instruction_id",))
    draws_N = uniform(frame.get_column("instruction_id"), seed, "random")
    return _ranked(frame, draws_N, sorted_R_of)


def rank_reward(
    metrics: pl.DataFrame,
    best_scores: pl.Series | Floats,
    sorted_R_of: References | None = None,
) -> pl.DataFrame:
    """Rank the rows by the score of their best response.

    Input columns: as `rank_random`.
    Output columns (tables.RANKING): score: the reward model's unit, unbounded, higher is better;
    reason: a barred text, no_score (the best score is missing) or no_answer.

    Args:
        metrics: one row per instruction.
        best_scores: one number per row of `metrics`; null, NaN and infinite are missing.
        sorted_R_of: as in `integrate`.

    Raises:
        ValueError: another number of scores than of rows.
        DatasetError: as `integrate`.
    """
    frame = metric_columns(metrics, required=("instruction_id",))
    best_N = pl.Series(best_scores).cast(pl.Float64).fill_null(float("nan")).to_numpy()
    if len(best_N) != frame.height:
        raise ValueError(f"{len(best_N)} best scores for {frame.height} rows: expected one each")
    return _ranked(frame, np.where(np.isfinite(best_N), best_N, np.nan), sorted_R_of)


def _ranked(frame: pl.DataFrame, score_N: Floats, sorted_R_of: References | None) -> pl.DataFrame:
    """Rank by a score; a row whose score is NaN is not eligible: no_score."""
    scored = frame.with_columns(has_score=pl.Series(~np.isnan(score_N)))
    reason = reasons(scored, {"no_score": ~pl.col("has_score")})
    q_N_of = metric_quantiles(frame, reason, sorted_R_of=sorted_R_of)
    return ranking_table(frame, reason, q_N_of, score_N)
