"""Choices of an experiment as positions in one pool, so that thousands of them fit in memory.

A pool's rows stand in id order; a row is its position there, an int32. Ties in the score go to the
smaller id, i.e. to the smaller position: no id is compared, sorted or joined after the pool is
made. A choice of 1,000 rows is 4 kB.

Array names carry their shape: N rows of the pool, E eligible rows in rank order, B chosen rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.errors import DatasetError, SelectionError
from crowdselect_core.experiment.ngrams import Ngrams
from crowdselect_core.selection.eligibility import check_ids
from crowdselect_core.selection.quota import rows_of_budget
from crowdselect_core.selection.quota_allocation import check_quota, choose, lay_out

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Places = NDArray[np.int32]


@dataclass(frozen=True)
class KeptAnswers:
    """The answer that one response rule keeps with every row of the pool.

    Attributes:
        models: the crowd's names; model_N: which of them, -1 where no answer is kept.
        reward_N: the combined score of the kept answer, higher is better, NaN without one.
        tokens_N: of the kept answer, 0 without one.
    """

    models: Sequence[str]
    model_N: NDArray[np.int16]
    reward_N: Floats
    tokens_N: NDArray[np.int64]


@dataclass(frozen=True)
class Pool:
    """The rows that all choices of an experiment come from, in id order.

    Attributes:
        ids: instruction ids, ascending, unique.
        tokens_N: of the instruction.
        kept: per response rule what it keeps; empty where the data set has no answers.
        vectors_NW: float32 embeddings; None without.
        ngrams: of the instructions' texts; None without.
    """

    ids: pl.Series
    tokens_N: NDArray[np.int64]
    kept: Mapping[str, KeptAnswers]
    vectors_NW: NDArray[np.float32] | None = None
    ngrams: Ngrams | None = None

    def __post_init__(self) -> None:
        check_ids(self.ids, "pool")
        if not self.ids.is_sorted():
            raise DatasetError("pool: the ids are not in ascending order: sort the rows by id")


@dataclass(frozen=True)
class Ranked:
    """A pool as one method ranks it in one replicate.

    Attributes:
        score_N: higher is chosen first; NaN where not eligible.
        eligible_N: whether a row may be chosen (a row outside of the replicate's subsample, or held
            out, may not).
        cluster_N: cluster ids; None for no clustering. Two rankings share chance inside clusters
            only if they hold the same array.
    """

    score_N: Floats
    eligible_N: Bools
    cluster_N: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Choice:
    """What one cell chose in one replicate.

    Attributes:
        cell: its name; replicate; budget: as the config gives it.
        rows_B: positions, best first.
        ranked: what it was chosen from.
        response: the response rule, a key of the pool's `kept`; None without answers.
    """

    cell: str
    replicate: int
    budget: float
    rows_B: Places
    ranked: Ranked
    response: str | None = None


def placed(ids: pl.Series, ranking: pl.DataFrame, clusters: pl.DataFrame | None = None) -> Ranked:
    """Lay a ranking out by the positions of a pool.

    Rows of the pool that the ranking lacks (held out, not in the subsample) are not eligible.

    Input columns: ranking: instruction_id, score, eligible; clusters: instruction_id, cluster_id.

    Raises:
        DatasetError: the ranking has ids that the pool has not, or one twice; an eligible row
            without a cluster or a finite score.
    """
    check_ids(ranking["instruction_id"], "ranking")
    joined = pl.DataFrame({"instruction_id": ids}).join(
        ranking.select("instruction_id", "score", "eligible"),
        on="instruction_id",
        how="left",
        maintain_order="left",
    )
    if (known := ids.is_in(ranking["instruction_id"].implode()).sum()) != ranking.height:
        raise DatasetError(
            f"ranking: {ranking.height - known} of {ranking.height} rows are not in the pool"
        )
    eligible_N = joined["eligible"].fill_null(False).to_numpy()
    score_N = joined["score"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    if unscored := int((eligible_N & ~np.isfinite(score_N)).sum()):
        raise DatasetError(f"ranking: {unscored} eligible rows have no finite score: rank them")
    return Ranked(score_N, eligible_N, _clusters(ids, clusters, eligible_N))


def choose_rows(
    ranked: Ranked,
    budgets: Sequence[int | float],
    quota: str = "equal",
    *,
    allow_short: bool = False,
) -> list[Places]:
    """Choose by every budget from one ranking: the rows that `select` returns, as positions.

    The ranking is sorted and laid out once. METHOD, "Clusters and quota".

    Args:
        ranked: the ranking.
        budgets: each rows, or as a float in (0, 1] a share of the eligible rows.
        quota: equal, proportional or reference.
        allow_short: whether all rows are taken where fewer are eligible than a budget asks for.

    Returns:
        Per budget the positions, best first.

    Raises:
        SelectionError: fewer eligible rows than a budget asks for, or a budget that cannot be.
        ConfigError: an unknown quota.
    """
    check_quota(quota)
    (eligible_E,) = np.nonzero(ranked.eligible_N)
    if not len(eligible_E):
        raise SelectionError(f"nothing to select: 0 of {len(ranked.score_N)} rows are eligible")
    order_E = eligible_E[np.argsort(-ranked.score_N[eligible_E], kind="stable")]
    cluster_E = np.zeros(len(order_E), dtype=np.int64)
    if ranked.cluster_N is not None:
        cluster_E = ranked.cluster_N[order_E]
    layout = lay_out(cluster_E)
    chosen = []
    for budget in budgets:
        wanted = rows_of_budget(budget, len(order_E))
        if wanted > len(order_E) and not allow_short:
            raise SelectionError(
                f"the budget is {wanted} rows, but only {len(order_E)} of {len(ranked.score_N)} "
                "rows are eligible: give a smaller budget"
            )
        places_B = choose(layout, min(wanted, len(order_E)), quota)
        chosen.append(order_E[places_B].astype(np.int32))
    return chosen


def _clusters(
    ids: pl.Series, clusters: pl.DataFrame | None, eligible_N: Bools
) -> NDArray[np.int64] | None:
    if clusters is None:
        return None
    check_ids(clusters["instruction_id"], "clusters")
    found = pl.DataFrame({"instruction_id": ids}).join(
        clusters.select("instruction_id", pl.col("cluster_id").cast(pl.Int64)),
        on="instruction_id",
        how="left",
        maintain_order="left",
    )
    cluster_N: NDArray[np.int64] = found["cluster_id"].fill_null(-1).to_numpy()
    if homeless := int((eligible_N & (cluster_N < 0)).sum()):
        raise DatasetError(f"clusters: {homeless} eligible rows have no cluster")
    return cluster_N
