"""Choosing by many budgets from one ranking, as positions in a pool.

A pool's rows stand in id order; a row is its position there, an int32. Ties in the score go to the
smaller id, i.e. to the smaller position: no id is compared, sorted or joined after the ranking is
laid out. A choice of 1,000 rows is 4 kB.

Array names carry their shape: N rows of the pool, E eligible rows in rank order, B chosen rows.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.errors import DatasetError
from crowdselect_core.selection.candidates import NO_CLUSTER, Candidates, choose_by_budgets
from crowdselect_core.selection.eligibility import check_ids
from crowdselect_core.selection.integration import eligibility_counts
from crowdselect_core.util.notes import Warn, log_warning

Places = NDArray[np.int32]


def placed(
    ids: pl.Series, ranking: pl.DataFrame, clusters: pl.DataFrame | None = None
) -> Candidates:
    """Lay a ranking out by the positions of a pool.

    Rows of the pool that the ranking lacks (held out, not in the subsample) are not eligible.

    Input columns: ranking: instruction_id, score, eligible, and reason where messages are to say
    why rows are not; clusters: instruction_id, cluster_id.

    Raises:
        DatasetError: the ranking has ids that the pool has not, or one twice.
    """
    own = ranking.select("instruction_id", "score", "eligible")
    if not own["instruction_id"].equals(ids):
        own = _joined(ids, own)
    eligible_N = own["eligible"].fill_null(False).to_numpy()
    score_N = own["score"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    ineligible = eligibility_counts(ranking) if "reason" in ranking.columns else {}
    return Candidates(score_N, eligible_N, _clusters(ids, clusters), ineligible=ineligible)


def choose_places(
    ranked: Candidates,
    budgets: Sequence[int | float],
    quota: str = "equal",
    *,
    allow_short: bool = False,
    warn: Warn = log_warning,
) -> list[Places]:
    """Choose by every budget from one ranking: the rows that `select` returns, as positions.

    The ranking is sorted and laid out once. METHOD, "Clusters and quota".

    Args:
        ranked: the ranking.
        budgets: each rows, or as a float in (0, 1] a share of the eligible rows.
        quota: equal, proportional or reference.
        allow_short: whether all rows are taken where fewer are eligible than a budget asks for.
        warn: called with what `select` warns of.

    Returns:
        Per budget the positions, best first.

    Raises:
        SelectionError: fewer eligible rows than a budget asks for, a budget that cannot be, or an
            eligible row without a cluster.
        DatasetError: an eligible row without a finite score.
        ConfigError: an unknown quota.
    """
    chosen = choose_by_budgets(ranked, budgets, quota, allow_short, warn)
    return [rows_B.astype(np.int32) for rows_B in chosen]


def _clusters(ids: pl.Series, clusters: pl.DataFrame | None) -> NDArray[np.int64] | None:
    if clusters is None:
        return None
    found = clusters.select("instruction_id", pl.col("cluster_id").cast(pl.Int64))
    if not found["instruction_id"].equals(ids):
        check_ids(clusters["instruction_id"], "clusters")
        found = pl.DataFrame({"instruction_id": ids}).join(
            found, on="instruction_id", how="left", maintain_order="left"
        )
    cluster_N: NDArray[np.int64] = found["cluster_id"].fill_null(NO_CLUSTER).to_numpy()
    return cluster_N


def _joined(ids: pl.Series, ranking: pl.DataFrame) -> pl.DataFrame:
    """Bring a ranking in the order of the ids; rows that it lacks are null."""
    check_ids(ranking["instruction_id"], "ranking")
    known = int(ids.is_in(ranking["instruction_id"].implode()).sum())
    if known != ranking.height:
        raise DatasetError(
            f"ranking: {ranking.height - known} of {ranking.height} rows are not in the pool"
        )
    return pl.DataFrame({"instruction_id": ids}).join(
        ranking, on="instruction_id", how="left", maintain_order="left"
    )
