"""The quantile of every metric among the eligible rows, or among rows of reference.

Source: METHOD, "Integration"; arXiv 2503.01836, section 3.

Array names carry their shape: N rows (instructions), E of them that take part in a ranking, R
values of reference.
"""

from collections.abc import Collection, Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.tables import METRIC_NAMES
from crowdselect_core.util.notes import Warn, log_warning

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
References = Mapping[str, Floats]  # metric -> its values over the R rows of reference, sorted

STABILITY_DECIMALS = 9
COARSE_VALUES, COARSE_ROWS = 10, 100


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
    values_N_of = {name: _floats(ranking.get_column(name)) for name in METRIC_NAMES}
    return references_of(values_N_of, ranking["eligible"].fill_null(False).to_numpy())


def references_of(values_N_of: dict[str, Floats], eligible_N: Bools) -> References:
    """Return what `references` does; the metrics are taken out one by one, to hold each only once.

    Args:
        values_N_of: the metrics, NaN where undefined.
        eligible_N: which rows count.
    """
    found = {}
    for name in METRIC_NAMES:
        values_E = _as_ranked(values_N_of.pop(name)[eligible_N], name)
        found[name] = np.sort(values_E[~np.isnan(values_E)])
    return found


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


def _quantiles(values_N: Floats, eligible_N: Bools) -> tuple[Floats, int, int]:
    """Return the quantiles, how many distinct values and how many rows they are taken over."""
    q_N = np.full(len(values_N), np.nan)
    counts_N = eligible_N & ~np.isnan(values_N)
    n = int(counts_N.sum())
    if n <= 1:
        q_N[counts_N] = 0.5
        return q_N, n, n
    if n == len(values_N):
        order_E = np.argsort(values_N)
    else:
        (rows_E,) = np.nonzero(counts_N)
        order_E = rows_E[np.argsort(values_N[rows_E])]
        del rows_E
    sorted_E = values_N[order_E]
    starts_E = np.append(True, sorted_E[1:] != sorted_E[:-1])  # of the runs of ties
    del sorted_E
    distinct = int(starts_E.sum())
    if distinct == n:
        below_E = np.arange(n, dtype=np.float64)  # average rank - 1
    else:
        (starts,) = np.nonzero(starts_E)
        lengths = np.diff(np.append(starts, n))
        below_E = np.repeat(starts + (lengths - 1) / 2, lengths)
    below_E /= n - 1
    q_N[order_E] = below_E
    return q_N, distinct, n


def _as_ranked(values_N: Floats, name: str) -> Floats:
    """Return a metric as it is ranked."""
    if name == "stability":  # a mean of few ratios: float noise would break its many ties
        values_N = np.round(values_N, STABILITY_DECIMALS)
    return values_N


def _floats(column: pl.Series) -> Floats:
    """Return a numeric column as float64, NaN for null."""
    return column.cast(pl.Float64).fill_null(float("nan")).to_numpy()
