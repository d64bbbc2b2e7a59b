"""What a choice is like, without training: sizes, lengths, reward, models, clusters, variety, cost.

Array names carry their shape: B chosen rows, V of them that are looked at, W components of a
vector, C clusters.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.errors import ConfigError, shown
from crowdselect_core.experiment.choices import Choice, KeptAnswers, Pool
from crowdselect_core.tables import Columns

MOST_ROWS = 2_000  # of a choice, whose nearest neighbours are looked for
BLOCK = 500

CELLS: Columns = {
    "cell": pl.String,
    "replicate": pl.Int64,
    "budget": pl.Float64,
    "rows": pl.Int64,
    "instruction_tokens": pl.Float64,  # mean
    "answer_tokens": pl.Int64,  # of all kept answers together: what training pays for
    "mean_answer_tokens": pl.Float64,
    "reward": pl.Float64,  # mean of the kept answers
    "models": pl.Int64,  # crowd models whose answers are kept
    "clusters": pl.Int64,  # that have chosen rows; null without clusters
    "cluster_entropy": pl.Float64,  # nats, 0: one cluster; at most log(clusters of the pool)
    "distinct_1": pl.Float64,  # 0..1, higher: more varied words
    "distinct_2": pl.Float64,  # the same of word pairs
    "nearest": pl.Float64,  # mean cosine distance to the nearest other, 0..2, higher: more varied
    "answers_needed": pl.Int64,  # of the crowd, had the data set none; null where not known
    "scores_needed": pl.Int64,  # of these, by every reward model
    "cost_seconds": pl.Float64,
}
MODELS: Columns = {
    "cell": pl.String,
    "replicate": pl.Int64,
    "budget": pl.Float64,
    "model": pl.String,
    "share": pl.Float64,  # of the kept answers, 0..1
}
CLUSTERS: Columns = {
    "cell": pl.String,
    "replicate": pl.Int64,
    "budget": pl.Float64,
    "cluster_id": pl.Int64,
    "share": pl.Float64,  # of the chosen rows, 0..1
}


@dataclass(frozen=True)
class Cost:
    """What making a cell's choice costs.

    Attributes:
        answers, scores: that it needs, had the data set none yet; None where not known.
        seconds: of computing; None where not known.
    """

    answers: int | None = None
    scores: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Described:
    """Choices described: CELLS, a row each, and MODELS and CLUSTERS, a row per share above 0."""

    cells: pl.DataFrame
    models: pl.DataFrame
    clusters: pl.DataFrame


def describe(
    pool: Pool, choices: Iterable[Choice], costs: Mapping[str, Cost] | None = None, seed: int = 0
) -> Described:
    """Describe every choice; what the pool cannot tell (texts, vectors, answers) is null.

    Args:
        pool: where the choices come from.
        choices: of any cells, replicates and budgets; they are read one by one.
        costs: per cell.
        seed: of the rows whose neighbours are looked for, where a choice has more than 2,000.

    Raises:
        ConfigError: a choice's response rule is none that the pool has kept answers of.
    """
    cells, models, clusters = [], [], []
    for choice in choices:
        name = (choice.cell, choice.replicate, choice.budget)
        cost = (costs or {}).get(choice.cell, Cost())
        own = _row(pool, choice, seed).values()
        cells.append((*name, *own, cost.answers, cost.scores, cost.seconds))
        models += [(*name, *share) for share in _model_shares(_kept(pool, choice), choice)]
        clusters += [(*name, *share) for share in cluster_shares(choice).items()]
    return Described(
        pl.DataFrame(cells, schema=dict(CELLS), orient="row").fill_nan(None),
        pl.DataFrame(models, schema=dict(MODELS), orient="row"),
        pl.DataFrame(clusters, schema=dict(CLUSTERS), orient="row"),
    )


def cluster_shares(choice: Choice) -> dict[int, float]:
    """Return the share of the chosen rows in every cluster that has some; {} without clusters."""
    if choice.ranked.cluster_N is None or not len(choice.rows_B):
        return {}
    ids, counts = np.unique(choice.ranked.cluster_N[choice.rows_B], return_counts=True)
    shares = counts / len(choice.rows_B)
    return dict(zip(ids.tolist(), shares.tolist(), strict=True))


def entropy(shares: Iterable[float]) -> float:
    """Return -sum(p log p) in nats, of shares above 0."""
    return 0.0 - math.fsum(p * math.log(p) for p in shares)


def nearest_distance(vectors_BW: NDArray[np.float32], seed: int = 0) -> float:
    """Return the mean cosine distance (1 - cosine, 0..2) of rows to the nearest other one.

    Of more than 2,000 rows a seeded draw of so many is looked at, in both roles; the distance falls
    with their number, so compare choices of one size. A vector of zeros has distance 1 to all. NaN
    below two rows.
    """
    if len(vectors_BW) > MOST_ROWS:
        drawn = np.random.default_rng(seed).choice(len(vectors_BW), MOST_ROWS, replace=False)
        vectors_BW = vectors_BW[np.sort(drawn)]
    rows = len(vectors_BW)
    if rows < 2:
        return math.nan
    length_V = np.linalg.norm(vectors_BW, axis=1, keepdims=True)
    unit_VW = np.divide(vectors_BW, length_V, out=np.zeros_like(vectors_BW), where=length_V > 0)
    total = 0.0
    for start in range(0, rows, BLOCK):
        cosine = unit_VW[start : start + BLOCK] @ unit_VW.T
        own = np.arange(len(cosine))
        cosine[own, start + own] = -np.inf
        total += float(np.clip(1.0 - cosine.max(axis=1), 0.0, 2.0).sum(dtype=np.float64))
    return total / rows


def _row(pool: Pool, choice: Choice, seed: int) -> dict[str, Any]:
    """Return the columns of CELLS between the names and the cost, in their order."""
    rows_B = choice.rows_B
    kept = _kept(pool, choice)
    shares = cluster_shares(choice)
    clustered = choice.ranked.cluster_N is not None
    distinct = pool.ngrams.distinct(rows_B) if pool.ngrams else (math.nan, math.nan)
    near = math.nan
    if pool.vectors_NW is not None:
        near = nearest_distance(pool.vectors_NW[np.sort(rows_B)], seed)
    answers = _answers(kept, choice) if kept else (None, None, None, None)
    return {
        "rows": len(rows_B),
        "instruction_tokens": _mean(pool.tokens_N[rows_B]),
        **dict(
            zip(("answer_tokens", "mean_answer_tokens", "reward", "models"), answers, strict=True)
        ),
        "clusters": len(shares) if clustered else None,
        "cluster_entropy": entropy(shares.values()) if clustered else None,
        "distinct_1": distinct[0],
        "distinct_2": distinct[1],
        "nearest": near,
    }


def _answers(kept: KeptAnswers, choice: Choice) -> tuple[int, float, float, int]:
    rows_B = choice.rows_B
    have_B = rows_B[kept.model_N[rows_B] >= 0]
    tokens = kept.tokens_N[have_B]
    reward = kept.reward_N[have_B]
    different = len(np.unique(kept.model_N[have_B]))
    return int(tokens.sum()), _mean(tokens), _mean(reward[np.isfinite(reward)]), different


def _model_shares(kept: KeptAnswers | None, choice: Choice) -> list[tuple[str, float]]:
    if kept is None:
        return []
    model_B = kept.model_N[choice.rows_B]
    counts = np.bincount(model_B[model_B >= 0], minlength=len(kept.models))
    total = max(int(counts.sum()), 1)
    return [(kept.models[i], int(counts[i]) / total) for i in np.flatnonzero(counts).tolist()]


def _kept(pool: Pool, choice: Choice) -> KeptAnswers | None:
    if choice.response is None:
        return None
    if choice.response not in pool.kept:
        raise ConfigError(
            f"cell {choice.cell}: no kept answers of the response rule {choice.response!r} "
            f"(there are those of {shown(pool.kept)})"
        )
    return pool.kept[choice.response]


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if len(values) else math.nan
