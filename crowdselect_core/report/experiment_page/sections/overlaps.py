"""How much of the choice every two cells share, against what chance gives."""

from collections.abc import Iterator
from typing import Any

import polars as pl

from crowdselect_core.report.experiment_page.data import ExperimentData, Limits
from crowdselect_core.report.experiment_page.words import budget_title
from crowdselect_core.report.page.section import Section
from crowdselect_core.report.page.templating import filled

STEPS = 10  # of colour


def overlaps(data: ExperimentData, limits: Limits) -> Section | None:
    """Show the overlaps, a matrix and a list for each budget; None where there is no pair."""
    if data.overlaps.is_empty():
        return None
    html = filled("experiment_overlaps.html", groups=list(_groups(data.overlaps, limits)))
    return Section("overlaps", "The same rows?", html)


def _groups(table: pl.DataFrame, limits: Limits) -> Iterator[dict[str, Any]]:
    for (budget,), own in table.sort("budget", maintain_order=True, nulls_last=True).group_by(
        ["budget"], maintain_order=True
    ):
        pairs = {(r["a"], r["b"]): r for r in own.iter_rows(named=True)}
        cells = list(dict.fromkeys(name for pair in pairs for name in pair))
        shown = cells[: limits.cells]
        most = own.sort("jaccard", descending=True, maintain_order=True).head(limits.rows)
        yield {
            "budget": budget_title(budget),
            "cells": shown,
            "rows": [(a, [_cell(pairs, a, b) for b in shown]) for a in shown],
            "left_out": len(cells) - len(shown),
            "pairs": most.to_dicts(),
            "left_out_pairs": own.height - most.height,
        }


def _cell(pairs: dict[tuple[str, str], dict[str, Any]], a: str, b: str) -> dict[str, Any] | None:
    """Return a pair's overlap and its colour: how far it is above or below chance."""
    row = pairs.get((a, b)) or pairs.get((b, a))
    if row is None:
        return None
    index, chance = row["jaccard"], row["expected"]
    # from chance to all rows, and from chance down to none, are the whole ranges of colour
    room = (1 - chance) if index >= chance else chance
    share = abs(index - chance) / room if room > 0 else 0.0
    kind = "plus" if index >= chance else "minus"
    return {"index": index, "chance": chance, "colour": f"{kind}{round(share * STEPS)}"}
