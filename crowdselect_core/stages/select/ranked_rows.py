"""The rows that a ranking is made of, a shard at a time, and the columns that need all of them.

Quantiles are over all rows, so each metric is held as one array; everything else is made shard by
shard, from metrics and answers that are read twice.

Array names carry their shape: N rows.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.config.metric_weights import MetricWeights, check_weights
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import DamagedArtifact
from crowdselect_core.selection.eligibility import REQUIRED, reasons, typed_columns
from crowdselect_core.selection.integration import (
    check_headroom,
    ranking_table,
    weight_of,
    weighted_conditions,
    weighted_score,
)
from crowdselect_core.selection.metric_weights import method_weights
from crowdselect_core.selection.quantiles import References, quantiles_of
from crowdselect_core.stages.row_columns import RowReader, floats
from crowdselect_core.stages.select.listed import UnknownIds, barred_rows
from crowdselect_core.stages.select.metrics import BEST
from crowdselect_core.store.artifacts import Artifact
from crowdselect_core.tables import METRIC_NAMES, METRICS
from crowdselect_core.util.hashed_random import uniform

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class RankingColumns:
    """The columns of a ranking that need all rows.

    Args:
        q_N_of: the quantiles of every metric.
        score_N: what rows are ranked by, where they are eligible.
        notes: what the user must know.
    """

    q_N_of: Mapping[str, Floats]
    score_N: Floats
    notes: list[str]


class RankedRows:
    """Metrics and answers side by side, by their place.

    Args:
        config: the method and what it uses; one that needs no values of its own.
        metrics: of the rows.
        answers: of the rows.
    """

    def __init__(self, config: SelectConfig, metrics: Artifact, answers: Artifact) -> None:
        self._config, self.rows = config, metrics.rows
        self._weights = _weights(config)
        self._barred = barred_rows(config)
        own = [BEST] if config.method == "reward" else []
        numbers = [name for name in METRICS if name != "instruction_id"]
        ids = ["instruction_id"] if self._needs_ids else []
        self._first = RowReader(metrics, [*ids, *numbers, *own])
        self._second = RowReader(metrics, ["instruction_id", *numbers, *own])
        self._answers = RowReader(answers, ["answerable", "barred"])
        if answers.rows != metrics.rows:
            raise DamagedArtifact("answers: not the rows of the metrics, in their order")

    @property
    def _needs_ids(self) -> bool:
        """Whether ids decide on more than the order of equal scores."""
        listed = self._config.include is not None or self._config.exclude is not None
        return listed or self._config.method == "random"

    def columns(self, sorted_R_of: References | None) -> RankingColumns:
        """Read all rows once and compute what needs all of them.

        Args:
            sorted_R_of: as in `integrate`.
        """
        values_N_of = {name: np.empty(self.rows) for name in METRIC_NAMES}
        eligible_N = np.empty(self.rows, dtype=bool)
        own_N = np.empty(self.rows if self._weights is None else 0)
        notes: list[str] = []
        unknown = UnknownIds(self._config) if sorted_R_of is None else None  # else a part of them
        for start, frame in self._frames():
            here = slice(start, start + frame.height)
            typed, reason = self._checked(frame)
            eligible_N[here] = reason.is_null().to_numpy()
            for name, values_N in values_N_of.items():
                values_N[here] = floats(typed[name])
            if self._weights is None:
                own_N[here] = self._own_score(frame)
            if unknown is not None and self._needs_ids:
                unknown.add(frame["instruction_id"])
        notes += unknown.notes() if unknown is not None else []
        weights, report = self._weights, dict[str, float]()
        if weights is not None:
            report = weight_of(weights)
            undefined = int(np.isnan(values_N_of["headroom"]).sum())
            if sorted_R_of is None:
                check_headroom(weights, self.rows, undefined)
        q_N_of = quantiles_of(values_N_of, eligible_N, report, sorted_R_of, notes.append)
        score_N = own_N if weights is None else weighted_score(q_N_of, weights)
        return RankingColumns(q_N_of, score_N, notes)

    def table(self, columns: RankingColumns, start: int, end: int) -> pl.DataFrame:
        """Return rows of the ranking: tables.RANKING."""
        typed, reason = self._checked(self._beside(self._second, start, end))
        q_N_of = {name: q_N[start:end] for name, q_N in columns.q_N_of.items()}
        table = ranking_table(typed, reason, q_N_of, columns.score_N[start:end])
        if self._weights is None and self._config.direction == "bottom":
            return table.with_columns(score=-pl.col("score"))
        return table

    def _frames(self) -> Iterator[tuple[int, pl.DataFrame]]:
        starts = self._first.starts
        for start, end in zip(starts.tolist(), starts[1:].tolist(), strict=False):
            if end > start:
                yield start, self._beside(self._first, start, end)

    def _beside(self, reader: RowReader, start: int, end: int) -> pl.DataFrame:
        metrics, answers = reader.span(start, end), self._answers.span(start, end)
        table = metrics.with_columns(answers["answerable"], answers["barred"])
        return table.with_columns(barred=self._barred)

    def _checked(self, frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series]:
        """Return the typed columns of some rows, and why each is not eligible."""
        if self._weights is not None:
            typed = typed_columns(frame, [n for n in REQUIRED if n in frame.columns])
            return typed, reasons(
                typed, weighted_conditions(self._weights, self._config.min_scores)
            )
        typed = typed_columns(frame, ())
        if self._config.method == "random":
            return typed, reasons(typed, {})
        scored = typed.with_columns(has_score=pl.Series(~np.isnan(self._own_score(frame))))
        return typed, reasons(scored, {"no_score": ~pl.col("has_score")})

    def _own_score(self, frame: pl.DataFrame) -> Floats:
        """Return what a method without weights ranks by, NaN where a row has none."""
        return own_score(self._config.method, frame, self._config.seed)


def own_score(method: str, frame: pl.DataFrame, seed: int) -> Floats:
    """Return a draw of every row (method random), or its best score (reward); NaN without one.

    Input columns: instruction_id, best_score.
    """
    if method == "random":
        return uniform(frame["instruction_id"], seed, "random")
    best_N = floats(frame[BEST])
    return np.where(np.isfinite(best_N), best_N, np.nan)


def _weights(config: SelectConfig) -> MetricWeights | None:
    """Return what the metrics are weighed by, as `rank` does."""
    used = method_weights(config.method, check_weights(config.weights))
    if used is None:
        return None
    sign = 1 if config.direction == "top" else -1
    d, s, t, h = (sign * weight for weight in used)
    return d, s, t, h
