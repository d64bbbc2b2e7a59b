"""Choosing by many budgets from one ranking, as positions in a pool.

A pool's rows stand in id order; a row is its position there, an int32. Ties in the score go to the
smaller id, i.e. to the smaller position: no id is compared, sorted or joined after the ranking is
laid out. A choice of 1,000 rows is 4 kB.

Array names carry their shape: N rows of the pool, E eligible rows in rank order, B chosen rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.errors import DatasetError
from crowdselect_core.selection.candidates import Candidates, choose_by_budgets
from crowdselect_core.selection.eligibility import check_ids
from crowdselect_core.selection.integration import eligibility_counts
from crowdselect_core.util.notes import Warn, log_warning

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Places = NDArray[np.int32]


@dataclass(frozen=True)
class Ranked:
    """A pool as one method ranks it in one replicate.

    Attributes:
        score_N: higher is chosen first; NaN where not eligible.
        eligible_N: whether a row may be chosen (a row outside of the replicate's subsample, or held
            out, may not).
        cluster_N: cluster ids; None for no clustering. Two rankings share chance inside clusters
            only if they hold the same array.
        ineligible: how many rows are not eligible by reason, for messages.
    """

    score_N: Floats
    eligible_N: Bools
    cluster_N: NDArray[np.int64] | None = None
    ineligible: Mapping[str, int] | None = None


def placed(ids: pl.Series, ranking: pl.DataFrame, clusters: pl.DataFrame | None = None) -> Ranked:
    """Lay a ranking out by the positions of a pool.

    Rows of the pool that the ranking lacks (held out, not in the subsample) are not eligible.

    Input columns: ranking: instruction_id, score, eligible, and reason where messages are to say
    why rows are not; clusters: instruction_id, cluster_id.

    Raises:
        DatasetError: the ranking has ids that the pool has not, or one twice; an eligible row
            without a cluster or a finite score.
    """
    own = ranking.select("instruction_id", "score", "eligible")
    if not own["instruction_id"].equals(ids):
        own = _joined(ids, own)
    eligible_N = own["eligible"].fill_null(False).to_numpy()
    score_N = own["score"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    if unscored := int((eligible_N & ~np.isfinite(score_N)).sum()):
        raise DatasetError(f"ranking: {unscored} eligible rows have no finite score: rank them")
    ineligible = eligibility_counts(ranking) if "reason" in ranking.columns else None
    return Ranked(score_N, eligible_N, _clusters(ids, clusters, eligible_N), ineligible)


def choose_rows(
    ranked: Ranked,
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
        SelectionError: fewer eligible rows than a budget asks for, or a budget that cannot be.
        ConfigError: an unknown quota.
    """
    candidates = Candidates(
        score_N=ranked.score_N,
        eligible_N=ranked.eligible_N,
        cluster_N=ranked.cluster_N,
        ids_of=lambda rows: pl.Series(rows),  # ids are in the order of positions
        ineligible=ranked.ineligible or {},
    )
    chosen = choose_by_budgets(candidates, budgets, quota, allow_short, warn)
    return [rows_B.astype(np.int32) for rows_B in chosen]


def _clusters(
    ids: pl.Series, clusters: pl.DataFrame | None, eligible_N: Bools
) -> NDArray[np.int64] | None:
    if clusters is None:
        return None
    found = clusters.select("instruction_id", pl.col("cluster_id").cast(pl.Int64))
    if not found["instruction_id"].equals(ids):
        check_ids(clusters["instruction_id"], "clusters")
        found = pl.DataFrame({"instruction_id": ids}).join(
            found, on="instruction_id", how="left", maintain_order="left"
        )
    cluster_N: NDArray[np.int64] = found["cluster_id"].fill_null(-1).to_numpy()
    if homeless := int((eligible_N & (cluster_N < 0)).sum()):
        raise DatasetError(f"clusters: {homeless} eligible rows have no cluster")
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
