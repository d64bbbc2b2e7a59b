"""What the page of an experiment is made from: its tables, and what its manifest tells."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import polars as pl

from crowdselect_core.experiment.controls import LeftOut
from crowdselect_core.report.experiment_page.results import CellResult, results


@dataclass(frozen=True)
class Limits:
    """How much of long tables the page shows.

    Args:
        rows: of a table.
        cells: of a matrix, on a side.
    """

    rows: int
    cells: int


@dataclass(frozen=True)
class ExperimentData:
    """The results of an experiment as they lie in OUT.

    Args:
        config: of the experiment, as the manifest has it.
        summary: the manifest's: cells, replicates, verdicts, notes, controls left out, advice.
        experiment: schemas.EXPERIMENT.
        comparisons: schemas.COMPARISONS, the primary one first.
        overlaps: schemas.OVERLAPS.
        advice: advisor.ADVICE; None where no advisor was asked for.
        sensitivity: sensitivity.SENSITIVITY, likewise.
    """

    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    experiment: pl.DataFrame
    comparisons: pl.DataFrame
    overlaps: pl.DataFrame
    advice: pl.DataFrame | None = None
    sensitivity: pl.DataFrame | None = None

    def told(self, *keys: str) -> Any:
        """Return a value of the config by the keys that lead to it; None where there is none."""
        found: Any = self.config
        for key in keys:
            found = found.get(key) if isinstance(found, Mapping) else None
        return found

    def words(self, key: str) -> list[str]:
        """Return the lines that the manifest's summary has under a key."""
        found = self.summary.get(key)
        return [str(line) for line in found] if isinstance(found, list) else []

    @property
    def left_out(self) -> list[LeftOut]:
        """The controls that do not stand beside the methods."""
        return [LeftOut(**one) for one in self.summary.get("left_out", [])]

    @cached_property
    def heldout_share(self) -> float | None:
        """The share that every replicate holds out anew, which corrects the intervals."""
        share = self.told("heldout", "share")
        split = self.told("experiment", "replicate", "split")
        return float(share) if split is not False and isinstance(share, int | float) else None

    @cached_property
    def results(self) -> list[CellResult]:
        """Every cell's result on every metric, over its replicates."""
        return results(self.experiment, self.heldout_share)

    @cached_property
    def primary(self) -> dict[str, Any] | None:
        """The comparison that was named beforehand, a row of `comparisons`."""
        return next(self.comparisons.filter("primary").iter_rows(named=True), None)
