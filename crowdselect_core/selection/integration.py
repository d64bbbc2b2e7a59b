"""Integration: the metrics become quantiles, and their weighted sum the score of a row.

Source: METHOD, "The three foundation metrics" (who is eligible) and "Integration"; arXiv
2503.01836, section 3. Headroom, the fourth metric, is ours and has no weight unless given one.

Array names carry their shape: N rows (instructions), E of them that take part in a ranking.
"""

from collections.abc import Collection, Mapping, Sequence
from numbers import Integral

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.config.metric_weights import WEIGHTS, MetricWeights, check_weights
from crowdselect_core.errors import ConfigError
from crowdselect_core.selection.eligibility import metric_columns, reason_code, reasons
from crowdselect_core.tables import METRIC_NAMES, RANKING
from crowdselect_core.util.notes import Warn, log_warning

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
References = Mapping[str, Floats]  # metric -> its values over the R rows of reference, sorted

STABILITY_DECIMALS = 9
SCORE_DECIMALS = 12
COARSE_VALUES, COARSE_ROWS = 10, 100


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


def quantiles(values: pl.Series | Floats, eligible_N: Bools) -> Floats:
    """Return the exact empirical quantile of every eligible value, NaN for the others.

    q = (average rank - 1) / (n - 1) over the n eligible values that are defined, 0.5 when n = 1.
    METHOD, "Integration".

    Input columns: a number per row, any unit; null and NaN are undefined and take no part.
    Output columns: 0..1, 0 for the smallest.

    Args:
        values: the metric.
        eligible_N: which rows count.
    """
    values_N = _floats(values) if isinstance(values, pl.Series) else values
    return _quantiles(values_N, eligible_N)[0]


def references(ranking: pl.DataFrame) -> References:
    """Return what later rows' quantiles are taken among: the values of every metric, sorted.

    Input columns (tables.RANKING): the four metrics, eligible; rows that are not do not count.
    """
    eligible = ranking.filter(pl.col("eligible"))
    return {
        name: np.sort(values_N[~np.isnan(values_N)])
        for name, values_N in ((n, _metric(eligible, n)) for n in METRIC_NAMES)
    }


def reference_quantiles(values_N: Floats, sorted_R: Floats) -> Floats:
    """Return each value's quantile among R values of reference, NaN for NaN.

    q = clip((below + (equal - 1) / 2) / (R - 1), 0, 1), with how many values of reference are
    below and equal: for one that stands among them its own exact quantile, for one between two of
    them the middle of theirs; 0.5 when R = 1.
    """
    n = len(sorted_R)
    if n <= 1:
        return np.where(np.isnan(values_N) | (n == 0), np.nan, 0.5)
    below_N = np.searchsorted(sorted_R, values_N, side="left")
    equal_N = np.searchsorted(sorted_R, values_N, side="right") - below_N
    q_N = np.clip((below_N + (equal_N - 1) / 2) / (n - 1), 0.0, 1.0)
    return np.where(np.isnan(values_N), np.nan, q_N)


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


def metric_quantiles(
    frame: pl.DataFrame,
    reason: pl.Series,
    report: Collection[str] = (),
    sorted_R_of: References | None = None,
    warn: Warn = log_warning,
) -> dict[str, Floats]:
    """Return the quantiles of the four metrics over the eligible rows; see `quantiles`.

    A metric named in `report` that has few values over many rows is warned of: its quantiles are
    coarse, and ids decide between most of its rows.
    """
    values_N_of = {name: _floats(frame.get_column(name)) for name in METRIC_NAMES}
    return quantiles_of(values_N_of, reason.is_null().to_numpy(), report, sorted_R_of, warn)


def quantiles_of(
    values_N_of: dict[str, Floats],
    eligible_N: Bools,
    report: Collection[str] = (),
    sorted_R_of: References | None = None,
    warn: Warn = log_warning,
) -> dict[str, Floats]:
    """Return the quantiles of the four metrics, as `metric_quantiles` does.

    Args:
        values_N_of: the metrics, NaN where undefined; taken out one by one, to hold each only once.
        eligible_N: which rows count.
        report: as there.
        sorted_R_of: as in `integrate`.
        warn: as in `integrate`.
    """
    q_N_of = {}
    for name in METRIC_NAMES:
        values_N = _as_ranked(values_N_of.pop(name), name)
        if sorted_R_of is not None:
            eligible_values_N = np.where(eligible_N, values_N, np.nan)
            q_N_of[name] = reference_quantiles(eligible_values_N, sorted_R_of[name])
            continue
        q_N_of[name], distinct, rows = _quantiles(values_N, eligible_N)
        if name in report and distinct < COARSE_VALUES and rows > COARSE_ROWS:
            warn(
                f"{name} has only {distinct} distinct values over {rows} eligible rows: its "
                "quantiles are coarse"
            )
    return q_N_of


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


def _quantiles(values_N: Floats, eligible_N: Bools) -> tuple[Floats, int, int]:
    """Return the quantiles, how many distinct values and how many rows they are taken over."""
    q_N = np.full(len(values_N), np.nan)
    (rows_E,) = np.nonzero(eligible_N & ~np.isnan(values_N))
    n = len(rows_E)
    if n <= 1:
        q_N[rows_E] = 0.5
        return q_N, n, n
    values_E = values_N[rows_E]
    order_E = np.argsort(values_E)
    sorted_E = values_E[order_E]
    (starts,) = np.nonzero(np.append(True, sorted_E[1:] != sorted_E[:-1]))  # of the runs of ties
    del values_E, sorted_E
    if len(starts) == n:
        below_E = starts.astype(np.float64)  # average rank - 1
    else:
        lengths = np.diff(np.append(starts, n))
        below_E = np.repeat(starts + (lengths - 1) / 2, lengths)
    below_E /= n - 1
    q_N[rows_E[order_E]] = below_E
    return q_N, len(starts), n


def _metric(frame: pl.DataFrame, name: str) -> Floats:
    return _as_ranked(_floats(frame.get_column(name)), name)


def _as_ranked(values_N: Floats, name: str) -> Floats:
    """Return a metric as it is ranked."""
    if name == "stability":  # a mean of few ratios: float noise would break its many ties
        values_N = np.round(values_N, STABILITY_DECIMALS)
    return values_N


def _floats(column: pl.Series) -> Floats:
    """Return a numeric column as float64, NaN for null."""
    return column.cast(pl.Float64).fill_null(float("nan")).to_numpy()
