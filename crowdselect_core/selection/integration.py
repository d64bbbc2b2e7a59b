"""Integration: the metrics become quantiles, and their weighted sum the score of a row.

Source: METHOD, "The three foundation metrics" (who is eligible) and "Integration"; arXiv
2503.01836, section 3. Headroom, the fourth metric, is ours and has no weight unless given one.

Array names carry their shape: N rows (instructions), E of them that take part in a ranking.
"""

from collections.abc import Mapping, Sequence
from numbers import Integral

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.config.metric_weights import WEIGHTS, MetricWeights, check_weights
from crowdselect_core.errors import ConfigError
from crowdselect_core.selection.eligibility import metric_columns, reason_code, reasons
from crowdselect_core.selection.quantiles import References, metric_quantiles
from crowdselect_core.tables import METRIC_NAMES, RANKING
from crowdselect_core.util.notes import Warn, log_warning

Floats = NDArray[np.float64]

SCORE_DECIMALS = 12


def integrate(
    metrics: pl.DataFrame,
    weights: Sequence[float] = WEIGHTS,
    min_scores: int = 2,
    sorted_R_of: References | None = None,
    warn: Warn = log_warning,
) -> pl.DataFrame:
    """Rank the rows by the weighted sum of their metrics' quantiles.

    score = w_difficulty*q_d + w_separability*q_s + w_stability*q_t + w_headroom*q_h, rounded to 12
    decimals, each q the exact empirical quantile over the eligible rows (stability rounded to 9
    decimals first). METHOD, "Integration"; arXiv 2503.01836.

    A row is eligible when it is not barred, has `min_scores` scores, has every metric of non-zero
    weight and has an answer to keep; the first of these that fails is its reason.

    Input columns (tables.METRICS, further columns are ignored but for the optional ones):
        instruction_id: String, unique.
        n_scores, difficulty, separability, stability: as `crowd_metrics` gives them.
        headroom: optional, the same; without it every row's is undefined.
        answerable: optional Boolean; null or false: no answer to keep.
        barred: optional String; not null: the row may not be chosen, and this text is the reason.

    Output columns (tables.RANKING, in input order):
        cluster_id: null.
        difficulty_q, separability_q, stability_q, headroom_q: 0..1, same direction as the metric;
            null for a row that is not eligible, and for one that lacks a metric of weight 0 (such a
            metric's quantiles are taken over the eligible rows that have it).
        score: between the sum of the negative and the sum of the positive weights, higher is
            chosen first; null for a row that is not eligible.
        eligible: whether the row may be chosen; reason: why not (a barred text, too_few_scores,
            no_difficulty, no_separability, no_stability, no_headroom, no_answer), else null.

    Args:
        metrics: one row per instruction.
        weights: of difficulty, separability, stability and, if there are four, headroom (else 0);
            a negative one reverses its metric.
        min_scores: how many scores a row needs at least.
        sorted_R_of: what `references` returned of another ranking; the quantiles are then taken
            among its rows (see `reference_quantiles`) in place of these.
        warn: called with what the user must know: a metric whose quantiles are coarse.

    Raises:
        ConfigError: weights that are not three or four finite numbers, or all zero, or out of
            scale; headroom has weight and no row has any.
        DatasetError: a column that is missing or of another type, an id that is null or repeats.
    """
    return weighted(metrics, check_weights(weights), min_scores, sorted_R_of, warn)


def weighted(
    metrics: pl.DataFrame,
    weights: MetricWeights,
    min_scores: int,
    sorted_R_of: References | None,
    warn: Warn,
) -> pl.DataFrame:
    """Rank the rows as `integrate` does, by weights that are checked."""
    conditions = weighted_conditions(weights, min_scores)
    frame = metric_columns(metrics)
    if sorted_R_of is None:
        check_headroom(weights, frame.height, frame["headroom"].null_count())
    reason = reasons(frame, conditions)
    q_N_of = metric_quantiles(frame, reason, weight_of(weights), sorted_R_of, warn)
    return ranking_table(frame, reason, q_N_of, weighted_score(q_N_of, weights))


def weight_of(weights: MetricWeights) -> dict[str, float]:
    """Return the weights of the metrics that have one."""
    return {n: w for n, w in zip(METRIC_NAMES, weights, strict=True) if w != 0}


def weighted_conditions(weights: MetricWeights, min_scores: int) -> dict[str, pl.Expr]:
    """Return what makes a row not eligible, by reason, where the metrics are weighed."""
    if isinstance(min_scores, bool) or not isinstance(min_scores, Integral) or min_scores < 0:
        raise ConfigError(f"min_scores: found {min_scores!r}, expected a whole number, 0 or more")
    lacks = {f"no_{name}": pl.col(name).is_null() for name in weight_of(weights)}
    return {"too_few_scores": pl.col("n_scores") < min_scores} | lacks


def weighted_score(q_N_of: Mapping[str, Floats], weights: MetricWeights) -> Floats:
    """Return the weighted sum of the quantiles, rounded."""
    score_N = np.zeros(len(q_N_of[METRIC_NAMES[0]]))
    for name, weight in weight_of(weights).items():
        score_N += weight * q_N_of[name]
    return np.round(score_N, SCORE_DECIMALS, out=score_N)


def eligibility_counts(ranking: pl.DataFrame) -> dict[str, int]:
    """Count the rows of a ranking that are not eligible by their reason, in the order of reasons.

    The rows that a quality gate refuses are counted together.

    Input columns: eligible, reason (optional; null counts as "unknown").
    """
    out = ranking.filter(~pl.col("eligible").fill_null(False))
    reason = pl.col("reason") if "reason" in out.columns else pl.lit(None, dtype=pl.String)
    counts = (
        out.with_columns(reason=reason_code(reason.fill_null("unknown"))).group_by("reason").len()
    )
    return {str(reason): int(n) for reason, n in sorted(counts.iter_rows())}


def ranking_table(
    frame: pl.DataFrame, reason: pl.Series, q_N_of: Mapping[str, Floats], score_N: Floats
) -> pl.DataFrame:
    """Lay out tables.RANKING; `score_N` counts on eligible rows alone."""
    eligible = reason.is_null()
    score_N = np.where(eligible.to_numpy(), score_N, np.nan) + 0.0  # no -0.0
    return frame.with_columns(
        *(pl.Series(f"{name}_q", q_N, nan_to_null=True) for name, q_N in q_N_of.items()),
        pl.Series("score", score_N, nan_to_null=True),
        eligible.alias("eligible"),
        reason.alias("reason"),
        pl.lit(None, dtype=pl.Int64).alias("cluster_id"),
    ).select(list(RANKING))


def check_headroom(weights: MetricWeights, rows: int, undefined: int) -> None:
    """Raise a ConfigError where headroom has weight and no row has any."""
    weight = weights[3]
    if weight != 0 and rows and undefined == rows:
        raise ConfigError(
            f"weights: headroom has the weight {weight:g}, but none of the {rows} rows has "
            "any: name the student among the crowd (role: student) and give it scores, or give "
            "headroom no weight (1,1,2)"
        )
