"""The selection: the best rows within a budget, shared among the clusters by a quota.

Source: METHOD, "Clusters and quota"; arXiv 2503.01836, section 3.

Array names carry their shape: E eligible rows in rank order (score descending, instruction_id
ascending).
"""

from numbers import Integral

import polars as pl

from crowdselect_core.errors import DatasetError, SelectionError
from crowdselect_core.selection.candidates import NO_CLUSTER, Candidates, choose_rows
from crowdselect_core.selection.eligibility import check_columns, check_ids
from crowdselect_core.selection.integration import eligibility_counts
from crowdselect_core.selection.quota_allocation import check_quota, choose
from crowdselect_core.util.notes import Warn, log_warning


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
    rows, candidates = _candidates(ranking, clusters)
    return rows[choose_rows(candidates, budget, quota, allow_short, warn)]


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
    rows, candidates = _candidates(ranking, clusters)
    order_E, layout = candidates.laid_out(*candidates.eligible())
    found = _looked_up(rows.get_column("instruction_id"), tokens, "tokens", "tokens")
    tokens_E = found.fill_null(-1).to_numpy()[order_E]
    if unknown := int((tokens_E < 0).sum()):
        raise DatasetError(
            f"tokens: {unknown} eligible rows have none or fewer than 0: count those of every row"
        )
    fits, too_many = 0, len(order_E) + 1
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        if int(tokens_E[choose(layout, middle, quota)].sum()) <= budget_tokens:
            fits = middle
        else:
            too_many = middle
    if fits == 0:
        first = int(choose(layout, 1, quota)[0])
        row_id = rows["instruction_id"][int(order_E[first])]
        raise SelectionError(
            f"the first row, {row_id!r}, alone has {int(tokens_E[first])} tokens and the budget "
            f"is {budget_tokens}: give a larger --budget-tokens"
        )
    return rows[order_E[choose(layout, fits, quota)]]


def _candidates(
    ranking: pl.DataFrame, clusters: pl.DataFrame | None
) -> tuple[pl.DataFrame, Candidates]:
    """Check the tables; return the rows of the ranking with their clusters, and as columns."""
    needed = {"instruction_id": pl.String, "score": pl.Float64, "eligible": pl.Boolean}
    check_columns(ranking, needed, "ranking")
    ids = ranking.get_column("instruction_id")
    check_ids(ids, "ranking")
    cluster_id = pl.Series("cluster_id", [None], dtype=pl.Int64).new_from_index(0, len(ids))
    if clusters is not None:
        cluster_id = _looked_up(ids, clusters, "cluster_id", "clusters")
    rows = ranking.with_columns(cluster_id.alias("cluster_id"))
    eligible = rows.get_column("eligible").fill_null(False)
    score_N = rows.get_column("score").cast(pl.Float64).fill_null(float("nan")).to_numpy()
    cluster_N = None if clusters is None else cluster_id.fill_null(NO_CLUSTER).to_numpy()
    return rows, Candidates(
        score_N=score_N,
        eligible_N=eligible.to_numpy(),
        cluster_N=cluster_N,
        ids_of=lambda rows_K: ids[rows_K],
        ineligible=eligibility_counts(ranking),
    )


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
