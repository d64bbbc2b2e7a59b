"""What an experiment found, as text for a terminal, as Markdown and as tables for the Prefect UI.

Names of cells and models come from configs and are hostile: they are escaped as all text is.
"""

from collections.abc import Iterable
from typing import Any

import polars as pl

from crowdselect_core.experiment.schemas import CHOICE
from crowdselect_core.export.experiment_files import Results
from crowdselect_core.report.text import LONG, markdown_text, one_line

OF_CHOICE = ("rows", "reward", "mean_answer_tokens", "cluster_entropy", "nearest")
SHOWN = 20  # verdicts and overlaps that a terminal shows
NAME = 60  # characters of a cell's name
TABLE_ROWS = 500  # of an artifact

Row = dict[str, Any]


def means(table: pl.DataFrame) -> pl.DataFrame:
    """Return every cell's mean over replicates of every metric, in the order of the cells.

    Output columns: cell, benchmark, metric, mean, low, high (the least and the most of a
    replicate), replicates.
    """
    return table.group_by("cell", "benchmark", "metric", maintain_order=True).agg(
        pl.col("value").mean().alias("mean"),
        pl.col("value").min().alias("low"),
        pl.col("value").max().alias("high"),
        pl.col("value").count().cast(pl.Int64).alias("replicates"),
    )


def as_lines(told: Results) -> list[str]:
    """Write the verdicts, the results of the cells and the largest overlaps for a terminal."""
    lines = [f"experiment   {len(told.cells)} cells, {told.replicates} replicates"]
    cached = told.table.group_by("cell", "replicate").agg(pl.col("cached").all())["cached"]
    lines.append(f"cached       {int(cached.sum())} of {len(cached)}")
    lines += [f"verdict      {one_line(v, 2 * LONG)}" for v in told.verdicts[:SHOWN]]
    if len(told.verdicts) > SHOWN:
        lines.append(f"verdict      {len(told.verdicts) - SHOWN} more stand in comparisons.parquet")
    lines += _results(told.table)
    lines += _overlaps(told.overlaps)
    lines += [one_line(line, 2 * LONG) for line in (told.advised.lines if told.advised else ())]
    lines += [f"note: {one_line(note, LONG)}" for note in told.all_notes[:SHOWN]]
    if len(told.all_notes) > SHOWN:
        lines.append(f"note: {len(told.all_notes) - SHOWN} more stand in manifest.json")
    return lines


def as_markdown(told: Results) -> str:
    """Write the verdicts and notes as Markdown."""
    verdicts = told.verdicts or ["nothing was trained: the choices alone are compared"]
    head = f"{len(told.cells)} cells, {told.replicates} replicates"
    parts = [f"- {markdown_text(line, 2 * LONG)}" for line in verdicts]
    notes = [f"- {markdown_text(note, LONG)}" for note in told.all_notes]
    return "\n".join([markdown_text(head), "", *parts, "", *notes]) + "\n"


def as_rows(told: Results) -> dict[str, list[Row]]:
    """Return the tables of the Prefect UI: cells, comparisons, overlaps."""
    shares = (pl.col("benchmark") == CHOICE) & pl.col("metric").str.contains("/")
    found = means(told.table.filter(~shares))
    return {
        "cells": _table(found),
        "comparisons": _table(told.comparisons.table),
        "overlaps": _table(told.overlaps),
    }


def _results(table: pl.DataFrame) -> list[str]:
    """Write the mean of every cell: of the benchmarks, else of its choice."""
    measured = table.filter(pl.col("benchmark") != CHOICE)
    if measured.is_empty():
        measured = table.filter(pl.col("metric").is_in(OF_CHOICE))
    found = means(measured)
    width = max((len(one_line(c, NAME)) for c in found["cell"].unique()), default=0)
    lines = []
    for (cell,), own in found.group_by(["cell"], maintain_order=True):
        values = ", ".join(
            f"{row['metric']} {row['mean']:.4g}"
            for row in own.iter_rows(named=True)
            if row["mean"] is not None
        )
        lines.append(f"cell         {one_line(str(cell), NAME).ljust(width)}  {values}")
    return lines


def _overlaps(overlaps: pl.DataFrame) -> list[str]:
    most = overlaps.sort("jaccard", descending=True, maintain_order=True).head(SHOWN)
    lines = [
        f"overlap      {one_line(row['a'], NAME)} | {one_line(row['b'], NAME)}: "
        f"{row['jaccard']:.3f}, by chance {row['expected']:.3f}"
        for row in most.iter_rows(named=True)
    ]
    if overlaps.height > SHOWN:
        lines.append(f"overlap      {overlaps.height - SHOWN} more stand in overlaps.parquet")
    return lines


def _table(frame: pl.DataFrame) -> list[Row]:
    """Return the first rows of a table; numbers rounded, texts as the UI's Markdown shows them."""
    return [_shown(row.items()) for row in frame.head(TABLE_ROWS).iter_rows(named=True)]


def _shown(cells: Iterable[tuple[str, Any]]) -> Row:
    return {
        name: round(value, 6)
        if isinstance(value, float)
        else markdown_text(value, LONG)
        if isinstance(value, str)
        else value
        for name, value in cells
    }
