"""The selection: the best rows within a budget, shared among the clusters by a quota.

Source: METHOD, "Clusters and quota"; arXiv 2503.01836, section 3.

Array names carry their shape: E eligible rows in rank order (score descending, instruction_id
ascending).
"""

from fractions import Fraction
from numbers import Integral
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.errors import DatasetError, SelectionError
from crowdselect_core.selection.eligibility import check_columns, check_ids
from crowdselect_core.selection.integration import eligibility_counts
from crowdselect_core.selection.quota_allocation import ClusterLayout, check_quota, choose, lay_out
from crowdselect_core.util.notes import Warn, log_warning

Ints = NDArray[np.int64]


class _Pool(NamedTuple):
    """The eligible rows, in input order with their clusters, and their order and layout."""

    rows: pl.DataFrame
    order_E: Ints  # the rows' places in `rows`, best first
    layout: ClusterLayout
    eligible: int
    counts: str  # how many rows are eligible and why the others are not, for messages


def select(
    ranking: pl.DataFrame,
    clusters: pl.DataFrame | None,
    budget: int | float,
    quota: str = "equal",
    allow_short: bool = False,
    warn: Warn = log_warning,
) -> pl.DataFrame:
    """Choose `budget` eligible rows, shared among the clusters by a quota. METHOD, "Quota".

    `equal`: min(e_c, T) rows of each cluster, T the largest whole number within the budget, and
    the rest one each to the clusters whose next row ranks best. `proportional`: largest remainder
    by eligible rows, equal remainders to the cluster whose next row ranks best. `reference` (the
    published code): ceil(budget / C) of each of the C clusters with eligible rows, or all it has,
    then the best `budget` of those.

    Input columns:
        ranking: instruction_id, score (higher is chosen first), eligible, reason (for messages);
            further columns pass through.
        clusters: instruction_id, cluster_id (whole numbers); further rows are ignored.

    Output columns: those of `ranking`, best row first, cluster_id filled (null without clusters).

    Args:
        ranking: what `integrate` or a baseline returns.
        clusters: None for no clustering.
        budget: rows, or as a float in (0, 1] the share of the eligible rows, rounded down.
        quota: equal, proportional or reference.
        allow_short: where fewer rows are eligible than asked for, take them all with a warning.
            With no eligible row at all there is nothing to take. `reference` may come out short
            of a budget that is eligible too: it warns with the number.
        warn: called with what the user must know; it is logged unless somebody asks for it.

    Raises:
        SelectionError: fewer eligible rows than asked for, a budget that cannot be, an eligible
            row without a cluster.
        ConfigError: an unknown quota.
        DatasetError: a column that is missing or of another type, an id that is null or repeats,
            an eligible row without a score.
    """
    check_quota(quota)
    pool = _pool(ranking, clusters)
    wanted = wanted_rows(budget, pool.eligible, pool.counts, allow_short=allow_short, warn=warn)
    places_B = choose(pool.layout, wanted, quota)
    reached(len(places_B), wanted, pool.counts, warn)
    return pool.rows[pool.order_E[places_B]]


def wanted_rows(
    budget: int | float, eligible: int, words: str, *, allow_short: bool, warn: Warn
) -> int:
    """Return the rows that a budget asks for, all eligible ones where these are fewer.

    Args:
        budget: as `select`.
        eligible: how many rows are.
        words: the same and why the others are not, for messages.
        allow_short: whether fewer rows than asked for are taken.
        warn: called where they are.

    Raises:
        SelectionError: fewer rows are eligible, and that is not allowed; a budget that cannot be.
    """
    wanted = rows_of_budget(budget, eligible)
    if wanted <= eligible:
        return wanted
    shortage = f"the budget is {wanted} rows, but only {words}"
    if not allow_short:
        raise SelectionError(
            f"{shortage}: give a smaller --budget, or --allow-short to take all {eligible}"
        )
    warn(f"{shortage}: taking all of them")
    return eligible


def reached(rows: int, wanted: int, words: str, warn: Warn) -> None:
    """Warn where the quota `reference` comes out short of the rows that were wanted."""
    if rows < wanted:
        warn(
            f"quota reference: {rows} rows instead of {wanted}, some clusters are too "
            f"small ({words})"
        )


def eligible_words(ranking: pl.DataFrame) -> str:
    """Say how many rows are eligible and why the others are not.

    Input columns: eligible, reason.
    """
    reasons = ", ".join(f"{r} {n}" for r, n in eligibility_counts(ranking).items())
    words = f"{int(ranking['eligible'].sum())} of {ranking.height} rows are eligible"
    return words + (f" (not eligible: {reasons})" if reasons else "")


def rows_of_budget(budget: int | float, eligible: int) -> int:
    """Return the number of rows a budget asks for.

    A whole number is rows. A float in (0, 1] is a share of the eligible rows, rounded down; it is
    read as the decimal it prints as, so 0.29 of 100 is 29 (in binary it would be 28).

    Args:
        budget: rows, or a share.
        eligible: how many rows are eligible.

    Raises:
        SelectionError: anything else, or a share that is less than one row.
    """
    if isinstance(budget, Integral) and not isinstance(budget, bool) and budget >= 1:
        return int(budget)
    if isinstance(budget, float) and 0 < budget <= 1:
        rows = int(Fraction(str(float(budget))) * eligible)
        if rows == 0:
            raise SelectionError(
                f"a budget of {budget} of {eligible} eligible rows is less than one row: give a "
                "larger share or a number of rows"
            )
        return rows
    raise SelectionError(
        f"budget: found {budget!r}, expected a whole number of rows from 1, or a share of the "
        "eligible rows above 0 and up to 1.0, e.g. 0.05"
    )


def select_by_tokens(
    ranking: pl.DataFrame,
    clusters: pl.DataFrame | None,
    tokens: pl.DataFrame,
    budget_tokens: int,
    quota: str = "equal",
) -> pl.DataFrame:
    """Choose the largest number of rows whose selection has at most `budget_tokens` tokens.

    The number of rows is found by bisection over `select`. That is exact where the selection of n
    rows is part of that of n + 1: with the equal quota, and without clusters. Otherwise the rows
    fit and one more row's selection does not, but some larger number could fit again.

    Input columns:
        ranking, clusters: as `select`.
        tokens: instruction_id, tokens (whole numbers, >= 0: what the row costs).

    Output columns: as `select`.

    Args:
        ranking: what `integrate` or a baseline returns.
        clusters: None for no clustering.
        tokens: further rows are ignored.
        budget_tokens: the most tokens of all rows together.
        quota: as `select`.

    Raises:
        SelectionError: as `select`; a budget below 1; the first row alone has more tokens.
        ConfigError: an unknown quota.
        DatasetError: as `select`; an eligible row without tokens or with fewer than 0.
    """
    whole = isinstance(budget_tokens, Integral) and not isinstance(budget_tokens, bool)
    if not whole or budget_tokens < 1:
        raise SelectionError(
            f"budget_tokens: found {budget_tokens!r}, expected a whole number from 1"
        )
    check_quota(quota)
    pool = _pool(ranking, clusters)
    found = _looked_up(pool.rows.get_column("instruction_id"), tokens, "tokens", "tokens")
    tokens_E = found.fill_null(-1).to_numpy()[pool.order_E]
    if unknown := int((tokens_E < 0).sum()):
        raise DatasetError(
            f"tokens: {unknown} eligible rows have none or fewer than 0: count those of every row"
        )
    fits, too_many = 0, pool.eligible + 1
    while too_many - fits > 1:
        rows = (fits + too_many) // 2
        if int(tokens_E[choose(pool.layout, rows, quota)].sum()) <= budget_tokens:
            fits = rows
        else:
            too_many = rows
    if fits == 0:
        first = int(choose(pool.layout, 1, quota)[0])
        row_id = pool.rows["instruction_id"][int(pool.order_E[first])]
        raise SelectionError(
            f"the first row, {row_id!r}, alone has {int(tokens_E[first])} tokens and the budget "
            f"is {budget_tokens}: give a larger --budget-tokens"
        )
    return pool.rows[pool.order_E[choose(pool.layout, fits, quota)]]


def _pool(ranking: pl.DataFrame, clusters: pl.DataFrame | None) -> _Pool:
    """Check the tables and lay the eligible rows out in rank order."""
    needed = {"instruction_id": pl.String, "score": pl.Float64, "eligible": pl.Boolean}
    check_columns(ranking, needed, "ranking")
    ids = ranking.get_column("instruction_id")
    check_ids(ids, "ranking")
    cluster_id: pl.Series | pl.Expr = pl.lit(None, dtype=pl.Int64)
    if clusters is not None:
        cluster_id = _looked_up(ids, clusters, "cluster_id", "clusters")
    rows = ranking.with_columns(cluster_id=cluster_id).filter("eligible")
    counts = eligible_words(ranking)
    if rows.is_empty():
        raise SelectionError(f"nothing to select: {counts}")
    if unscored := rows.height - int(rows.get_column("score").cast(pl.Float64).is_finite().sum()):
        raise DatasetError(f"ranking: {unscored} eligible rows have no finite score: rank them")
    homeless = rows.get_column("cluster_id").null_count()
    if clusters is not None and homeless:
        raise SelectionError(
            f"clusters: {homeless} eligible rows have no cluster: cluster every row of the ranking"
        )
    by_rank = pl.arg_sort_by("score", "instruction_id", descending=[True, False])
    order_E = rows.select(by_rank).to_series().to_numpy().astype(np.int64)
    ids_E = rows.get_column("cluster_id").fill_null(0).to_numpy()[order_E]
    return _Pool(rows, order_E, lay_out(ids_E), rows.height, counts)


def _looked_up(ids: pl.Series, table: pl.DataFrame, column: str, name: str) -> pl.Series:
    """Return a whole number per id from a table keyed by instruction_id, null where it has none."""
    check_columns(table, {"instruction_id": pl.String, column: pl.Int64}, name)
    if table.get_column("instruction_id").equals(ids):
        return table.get_column(column).cast(pl.Int64)
    found = ids.to_frame().join(
        table.select("instruction_id", pl.col(column).cast(pl.Int64)),
        on="instruction_id",
        how="left",
        maintain_order="left",
    )
    if found.height != len(ids):  # an id that stands twice joins twice
        check_ids(table.get_column("instruction_id"), name)
    return found.get_column(column)
