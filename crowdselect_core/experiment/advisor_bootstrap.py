"""How surely sub-crowds keep their share of the choice: a bootstrap over the pilot's rows.

The metrics belong to a row and stay; quantiles, ranks and quotas belong to the rows drawn and are
computed anew in each round. A row that is drawn twice counts twice.

Array names carry their shape: N rows of the pilot, B chosen rows.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.experiment.overlaps import shared_rows
from crowdselect_core.experiment.pilot import Pilot, chosen, metrics_of, ranked_by
from crowdselect_core.selection.candidates import Candidates

LEVEL = 95.0  # per cent of the rounds that lie inside an interval

Part = tuple[Sequence[str], Sequence[str]]  # models and reward models


class Share(NamedTuple):
    """The share of a choice that is kept, 0..1, and the ends of its interval."""

    value: float
    low: float
    high: float


def bootstrapped(pilot: Pilot, parts: Sequence[Part], rounds: int, seed: int) -> list[Share]:
    """Return which share of the first part's choice each part keeps, with percentile intervals.

    Args:
        pilot: the rows.
        parts: of its crowd; the first is what the others are measured by.
        rounds: of the bootstrap.
        seed: of the rows drawn.
    """
    metrics = [metrics_of(pilot, models, rewards) for models, rewards in parts]
    values = _kept(pilot, [ranked_by(pilot, m) for m in metrics])
    n = len(pilot.ids)
    # ids in the order of the places, so that ties go to the smaller id still
    ids = pl.Series("instruction_id", [f"{i:09d}" for i in range(n)])
    rng = np.random.default_rng(seed)
    kept_by_round = []
    for _ in range(rounds):
        drawn = np.sort(rng.integers(0, n, n))
        sample = _sample(pilot, drawn, ids)
        ranked = [ranked_by(sample, m[drawn].with_columns(ids)) for m in metrics]
        kept_by_round.append(_kept(sample, ranked))
    tail = (100.0 - LEVEL) / 2
    low, high = np.percentile(np.array(kept_by_round), [tail, 100.0 - tail], axis=0)
    return [Share(v, float(a), float(b)) for v, a, b in zip(values, low, high, strict=True)]


def _sample(pilot: Pilot, drawn: NDArray[np.int64], ids: pl.Series) -> Pilot:
    """Return a pilot of drawn rows without scores, which nothing reads after the metrics."""
    clusters = None if pilot.cluster_N is None else pilot.cluster_N[drawn]
    return Pilot(
        ids=ids,
        crowd=pilot.crowd,
        scores_by_reward={"drawn": np.empty((len(ids), len(pilot.crowd)))},
        budget=pilot.budget,
        weights=pilot.weights,
        cluster_N=clusters,
        quota=pilot.quota,
        min_scores=pilot.min_scores,
    )


def _kept(pilot: Pilot, ranked: Sequence[Candidates]) -> list[float]:
    """Return the share of the first ranking's choice that each ranking's choice has."""
    rows = [chosen(pilot, one) for one in ranked]
    aim_B = rows[0]
    if not len(aim_B):
        return [0.0] * len(rows)
    return [shared_rows(aim_B, rows_B, len(pilot.ids)) / len(aim_B) for rows_B in rows]
