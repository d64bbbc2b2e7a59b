"""Which cells of an experiment are compared, and what each has in every replicate.

Source: METHOD, "Evaluation, exactly": two selections are compared like with like, the same response
rule, base model, recipe, budget and questions. A token-matched arm has the budget of the cell that
it matches, as answer tokens instead of rows, and is compared with that cell alone.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from crowdselect_core.errors import DatasetError, shown
from crowdselect_core.experiment.schemas import CHOICE, EXPERIMENT
from crowdselect_core.selection.eligibility import check_columns

# What two cells must have in common, beside the rest of the recipe that the table has no column of.
LIKE = ("benchmark", "metric", "budget", "base_model", "loss", "peft", "response")


@dataclass(frozen=True)
class Primary:
    """The comparison that is named before the experiment.

    Attributes:
        method, baseline: the methods of the two arms.
        clusters: of both arms; None: any, the same of both.
        metric: what is compared; a metric of the benchmark `choice` too.
        benchmark: whose metric; None: the only one that has it.
        budget: None: the first of the experiment.
    """

    method: str
    baseline: str
    clusters: int | None
    metric: str
    benchmark: str | None = None
    budget: float | None = None


@dataclass(frozen=True)
class Arm:
    """A cell on one metric: its row of the table (the first) and its value in every replicate."""

    row: Mapping[str, Any]
    values: Mapping[int, float]

    @property
    def cell(self) -> str:
        return str(self.row["cell"])


Group = list[Arm]  # arms that are like each other but for the choice


def groups(
    table: pl.DataFrame, primary: Primary | None, recipe_of: Mapping[str, str]
) -> list[Group]:
    """Return the arms of an experiment, those together that may be compared.

    Rows of the benchmark `choice` describe choices and are left out, but for the metric that the
    primary comparison names. A value that is null or NaN is missing: the arm has none of that
    replicate.

    Args:
        table: schemas.EXPERIMENT.
        primary: the comparison that was named beforehand.
        recipe_of: per cell, whatever of its recipe has no column (rates, epochs); a cell that is
            not in it has the recipe "".

    Raises:
        DatasetError: a column is missing; a cell has two rows of one replicate and metric.
    """
    check_columns(table, EXPERIMENT, "experiment")
    found: dict[tuple[object, ...], dict[str, tuple[Mapping[str, Any], dict[int, float]]]] = {}
    seen: set[tuple[object, ...]] = set()
    for row in table.filter(_compared(primary)).iter_rows(named=True):
        place = (row["cell"], row["benchmark"], row["metric"], row["replicate"])
        if place in seen:
            raise DatasetError(
                "experiment: cell {!r} has two rows of {} {} in replicate {}: keep one".format(
                    *place
                )
            )
        seen.add(place)
        like = (*(row[name] for name in LIKE), recipe_of.get(row["cell"], ""))
        _, values = found.setdefault(like, {}).setdefault(row["cell"], (row, {}))
        if row["value"] is not None and math.isfinite(row["value"]):
            values[row["replicate"]] = row["value"]
    return [[Arm(row, values) for row, values in arms.values()] for arms in found.values()]


def pairs(
    group: Group, primary: Primary | None, matched: Mapping[str, str]
) -> Iterator[tuple[Arm, Arm]]:
    """Yield the pairs of a group that are compared, the method before its baseline.

    A token-matched arm makes one pair, behind the cell that it matches: with every other cell it
    shares neither rows nor tokens. Of the others, with a primary comparison, come the pairs with
    its method or its baseline on a side: every further pair would make Holm's correction harsher
    for an answer that nobody asked for. Without one, or where neither is in the group, all pairs.

    Args:
        group: of `groups`.
        primary: the comparison that was named beforehand.
        matched: by the cell of a token-matched arm the cell that it matches.
    """
    by_cell = {arm.cell: arm for arm in group}
    free = [arm for arm in group if arm.cell not in matched]
    yield from _free_pairs(free, primary)
    for name, cell in matched.items():
        if name in by_cell and cell in by_cell:
            yield by_cell[cell], by_cell[name]


def _free_pairs(group: Group, primary: Primary | None) -> Iterator[tuple[Arm, Arm]]:
    methods = [arm.row["method"] for arm in group]
    named = {primary.method, primary.baseline} if primary else set()
    every = not named & set(methods)
    for i, first in enumerate(group):
        for second in group[i + 1 :]:
            if every or named & {first.row["method"], second.row["method"]}:
                yield _ordered(first, second, primary)


def is_primary(a: Arm, b: Arm, primary: Primary) -> bool:
    """Tell whether a pair is what the primary comparison names, whatever its budget and recipe."""
    return (
        (a.row["method"], b.row["method"]) == (primary.method, primary.baseline)
        and a.row["clusters"] == b.row["clusters"]
        and primary.clusters in (None, a.row["clusters"])
        and a.row["metric"] == primary.metric
        and primary.benchmark in (None, a.row["benchmark"])
        and primary.budget in (None, a.row["budget"])
        and "bottom" not in (a.row["direction"], b.row["direction"])
    )


def missing_notes(table: pl.DataFrame, found: Sequence[Group], planned: Sequence[int]) -> list[str]:
    """Name every value that is missing: per cell and benchmark the replicates that have none.

    A cell of a base model that lacks a metric altogether, which other cells of that model have, is
    named too: one whose training failed every time has rows of its choice alone. Metrics of a
    benchmark that are missing together are one note.
    """
    metrics: dict[tuple[str, str, str], list[str]] = {}  # by cell, benchmark and where: metrics
    have: dict[tuple[str, str, str | None], set[str]] = {}
    for arm in (arm for group in found for arm in group):
        metric = (arm.row["benchmark"], arm.row["metric"], arm.row["base_model"])
        have.setdefault(metric, set()).add(arm.cell)
        if lacking := [r for r in planned if r not in arm.values]:
            where = f"in {len(lacking)} of {len(planned)} replicates ({shown(lacking)})"
            metrics.setdefault((arm.cell, metric[0], where), []).append(metric[1])
    cells = table.select("cell", "base_model").unique(maintain_order=True).rows()
    for (benchmark, metric_name, model), having in have.items():
        for cell, base_model in cells:
            if base_model == model and cell not in having:
                where = "in any replicate"
                metrics.setdefault((cell, benchmark, where), []).append(metric_name)
    return [
        f"missing: {cell} has no {benchmark} {shown(names)} {where}"
        for (cell, benchmark, where), names in metrics.items()
    ]


def _compared(primary: Primary | None) -> pl.Expr:
    """Tell the rows of a benchmark, and of the choice's metrics the one that is named."""
    results = pl.col("benchmark") != CHOICE
    if primary is None or primary.benchmark not in (None, CHOICE):
        return results
    return results | (pl.col("metric") == primary.metric)


def _ordered(first: Arm, second: Arm, primary: Primary | None) -> tuple[Arm, Arm]:
    """Put the primary's method first and its baseline second; else keep the table's order."""
    if primary is None:
        return first, second

    def place(arm: Arm) -> int:
        method = arm.row["method"]
        return 0 if method == primary.method else 2 if method == primary.baseline else 1

    return (second, first) if place(second) < place(first) else (first, second)
