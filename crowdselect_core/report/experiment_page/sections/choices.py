"""The choices themselves: size, lengths, reward, variety, and whose answers are kept."""

from collections.abc import Iterator
from typing import Any

import polars as pl

from crowdselect_core.experiment.schemas import CHOICE
from crowdselect_core.report.experiment_page.data import ExperimentData, Limits
from crowdselect_core.report.experiment_page.words import budget_order, budget_title
from crowdselect_core.report.page.section import Section
from crowdselect_core.report.page.templating import filled

SECONDS = "cost_seconds"  # a column of the table, not a metric of its own

# What is measured of a choice, and its heading.
FIGURES = {
    "rows": "rows",
    "instruction_tokens": "tokens of an instruction",
    "mean_answer_tokens": "tokens of an answer",
    "answer_tokens": "tokens of all answers",
    "reward": "mean reward",
    "models": "models kept",
    "clusters": "clusters",
    "cluster_entropy": "cluster entropy",
    "distinct_1": "distinct-1",
    "distinct_2": "distinct-2",
    "nearest": "distance to the nearest",
    "answers_needed": "answers needed",
    "scores_needed": "scores needed",
    SECONDS: "seconds",
}
MODEL = "model_share/"


def choices(data: ExperimentData, limits: Limits) -> Section | None:
    """Show what every cell chose, a table for each budget; None where nothing was described."""
    table = data.experiment.filter(pl.col("benchmark") == CHOICE)
    if table.is_empty():
        return None
    html = filled("experiment_choices.html", groups=list(_groups(table, limits)))
    return Section("choices", "What was chosen", html)


def _groups(table: pl.DataFrame, limits: Limits) -> Iterator[dict[str, Any]]:
    budgets = table["budget"].unique().to_list()
    for budget in sorted(budgets, key=budget_order):
        own = table.filter(pl.col("budget").eq_missing(budget))
        cells = own["cell"].unique(maintain_order=True).to_list()
        means = _means(own)
        figures = [n for n in FIGURES if any(means.get((c, n)) is not None for c in cells)]
        yield {
            "budget": budget_title(budget),
            "headings": [FIGURES[name] for name in figures],
            "rows": [(c, [means.get((c, name)) for name in figures]) for c in cells[: limits.rows]],
            "left_out": max(len(cells) - limits.rows, 0),
            "shares": _shares(own, cells, limits),
        }


def _means(own: pl.DataFrame) -> dict[tuple[str, str], float | None]:
    """Return the mean over replicates of every figure of every cell."""
    found = own.filter(pl.col("metric").is_in(list(FIGURES))).group_by("cell", "metric")
    means = {(c, m): v for c, m, v in found.agg(pl.col("value").mean()).iter_rows()}
    seconds = own.unique(["cell", "replicate"]).group_by("cell").agg(pl.col(SECONDS).mean())
    return means | {(cell, SECONDS): value for cell, value in seconds.iter_rows()}


def _shares(own: pl.DataFrame, cells: list[str], limits: Limits) -> dict[str, Any] | None:
    """Return the share of each model's answers among the kept ones: models x cells.

    A replicate that keeps no answer of a model has no row of it, which counts as 0.
    """
    kept = own.filter(pl.col("metric").str.starts_with(MODEL))
    if kept.is_empty():
        return None
    replicates = dict(own.group_by("cell").agg(pl.col("replicate").n_unique()).iter_rows())
    summed = kept.group_by("cell", "metric").agg(pl.col("value").sum())
    share = {(c, m[len(MODEL) :]): v / replicates[c] for c, m, v in summed.iter_rows()}
    models = sorted(
        {m for _, m in share}, key=lambda m: (-max(share.get((c, m), 0.0) for c in cells), m)
    )
    shown = cells[: limits.cells]
    return {
        "cells": shown,
        "rows": [(m, [share.get((c, m), 0.0) for c in shown]) for m in models[: limits.rows]],
        "left_out_models": max(len(models) - limits.rows, 0),
        "left_out_cells": len(cells) - len(shown),
    }
