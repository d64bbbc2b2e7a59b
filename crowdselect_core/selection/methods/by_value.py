"""Ranking by a number that each row has of its own: a column, a length, what a model says of it.

Array names carry their shape: N rows (instructions).
"""

import numpy as np
import polars as pl

from crowdselect_core.selection.eligibility import metric_columns, reasons
from crowdselect_core.selection.integration import ranking_table
from crowdselect_core.selection.quantiles import References, metric_quantiles
from crowdselect_core.tables import RANKING

LACKS = "lacks"  # the column that says why a row has no usable value


def rank_by_value(
    metrics: pl.DataFrame,
    values: pl.DataFrame,
    column: str,
    sorted_R_of: References | None = None,
) -> pl.DataFrame:
    """Rank the rows by a column of `values`: score = its number, the largest first.

    Input columns:
        metrics: as `rank_random`.
        values: instruction_id (unique), `column` (a number, null where there is none), lacks
            (optional String: why a row may not be chosen, whatever its number); further columns
            stand in the ranking too. Rows may be missing there.

    Output columns (tables.RANKING, in input order, then the columns of `values` but `lacks`): score
    is the number; reason: a barred text, what `lacks` says, no_answer, or no_value.

    Args:
        metrics: one row per instruction.
        values: what the rows are ranked by.
        column: by which of its columns.
        sorted_R_of: as in `integrate`.

    Raises:
        DatasetError: as `integrate`.
    """
    frame = metric_columns(metrics, required=("instruction_id",))
    own = _joined(frame, values)
    if LACKS in own.columns:
        frame = frame.with_columns(barred=pl.coalesce("barred", own[LACKS]))
    reason = reasons(frame, {})
    number_N = own[column].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    nothing = pl.Series(~np.isfinite(number_N))
    reason = pl.select(pl.coalesce(reason, pl.when(nothing).then(pl.lit("no_value")))).to_series()
    q_N_of = metric_quantiles(frame, reason, sorted_R_of=sorted_R_of)
    ranking = ranking_table(frame, reason, q_N_of, np.where(np.isfinite(number_N), number_N, 0.0))
    own = own.drop(LACKS, strict=False)
    if taken := [name for name in own.columns if name in RANKING]:
        raise ValueError(f"values: {taken} are columns of every ranking")
    return ranking.hstack(own)


def reversed_scores(ranking: pl.DataFrame) -> pl.DataFrame:
    """Rank the worst first: the scores negated."""
    return ranking.with_columns(score=-pl.col("score") + 0.0)


def _joined(frame: pl.DataFrame, values: pl.DataFrame) -> pl.DataFrame:
    """Return the columns of `values` in the order of a frame's rows."""
    joined = frame.select("instruction_id").join(
        values, on="instruction_id", how="left", maintain_order="left"
    )
    return joined.drop("instruction_id")
