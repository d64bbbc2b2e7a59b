"""What every cell came to on every metric, over its replicates."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl

from crowdselect_core.experiment.published.tables import UNTUNED
from crowdselect_core.experiment.schemas import CHOICE, EXPERIMENT
from crowdselect_core.experiment.statistics import t_interval

Over = Literal["replicates", "items", "nothing"]

# Columns that are the same in all replicates of a cell.
FACTS = tuple(EXPERIMENT)[: tuple(EXPERIMENT).index("seed")]
COSTS = ("answer_tokens", "steps", "cost_tokens", "cost_seconds")


@dataclass(frozen=True)
class CellResult:
    """A cell's result on a metric.

    Args:
        facts: the cell's settings, by columns of experiment.parquet.
        benchmark, metric: what was measured; of several judges the metric names its own.
        mean: over the replicates that have a value; None where none has.
        low, high: of the 95 % interval; None without one.
        over: what the interval is of: replicates, or of a single one the items, or nothing.
        replicates: that have a value; of `planned`.
        costs: means over the replicates of COSTS; None where not known.
    """

    facts: Mapping[str, Any]
    benchmark: str
    metric: str
    mean: float | None
    low: float | None
    high: float | None
    over: Over
    replicates: int
    planned: int
    costs: Mapping[str, float | None]

    @property
    def cell(self) -> str:
        """The cell's name."""
        return str(self.facts["cell"])

    @property
    def budget(self) -> float | None:
        """Rows, at most 1 a share of the eligible; None: tokens, or nothing is chosen."""
        budget = self.facts["budget"]
        return None if budget is None else float(budget)

    @property
    def is_reference(self) -> bool:
        """Whether it belongs beside the cells of every budget: the untuned model, the full pool."""
        return bool(self.facts["method"] == UNTUNED) or self.budget == 1


def results(table: pl.DataFrame, heldout_share: float | None) -> list[CellResult]:
    """Return the result of every cell on every metric, in the order of the table.

    Shares of models and clusters are left out: a replicate in which a share is 0 has no row of it.

    Args:
        table: schemas.EXPERIMENT.
        heldout_share: as `statistics.variance_factor`.
    """
    shares = (pl.col("benchmark") == CHOICE) & pl.col("metric").str.contains("/")
    groups = table.filter(~shares).group_by(["cell", "benchmark", "metric"], maintain_order=True)
    return [_result(own.to_dicts(), heldout_share) for _, own in groups]


def _result(rows: Sequence[dict[str, Any]], heldout_share: float | None) -> CellResult:
    first = rows[0]
    known = [r for r in rows if r["value"] is not None and math.isfinite(r["value"])]
    mean, low, high, over = _interval(known, heldout_share)
    costs = {name: _mean([row[name] for row in rows]) for name in COSTS}
    return CellResult(
        {name: first[name] for name in FACTS}, first["benchmark"], first["metric"],
        mean, low, high, over, len(known), len(rows), costs,
    )  # fmt: skip


def _interval(
    known: Sequence[dict[str, Any]], heldout_share: float | None
) -> tuple[float | None, float | None, float | None, Over]:
    if not known:
        return None, None, None, "nothing"
    if len(known) == 1:
        [only] = known
        over: Over = "nothing" if None in (only["low"], only["high"]) else "items"
        return only["value"], only["low"], only["high"], over
    values_R = np.array([row["value"] for row in known], dtype=np.float64)
    mean, low, high = t_interval(values_R, heldout_share)
    return mean, low, high, "replicates"


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None
