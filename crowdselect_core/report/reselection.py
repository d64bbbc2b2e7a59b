"""The summary of a reselection: counts, lines, and the rows that were added and removed."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from crowdselect_core.config.reselect import ReselectConfig
from crowdselect_core.metrics.drift import advice
from crowdselect_core.report.text import LONG, markdown_text
from crowdselect_core.reselection.record import SelectionRecord
from crowdselect_core.reselection.series import Series
from crowdselect_core.stages.refs import SelectionArtifacts
from crowdselect_core.store.artifacts import Store

CHANGES = ("in", "out", "stayed")


def row_counts(inputs: SelectionArtifacts, changes: Mapping[str, int]) -> dict[str, int]:
    """Return the counts of rows of a record."""
    members = inputs.membership.counts if inputs.membership else {}
    counts = {"all": inputs.instructions.rows, "chosen": inputs.selection.rows, **changes}
    return counts | {name: members.get(name, 0) for name in CHANGES if inputs.membership}


def reselected(
    config: ReselectConfig,
    store: Store,
    number: int,
    record: SelectionRecord,
    inputs: SelectionArtifacts,
) -> list[str]:
    """Say what a selection of a series is, what changed, and what its drift advises."""
    rows = record.rows
    lines = [headline(config.series, number, record)]
    if "in" in rows:
        lines.append(
            f"data set   {rows['new']:,} new rows, {rows['back']:,} returned, "
            f"{rows['gone']:,} removed"
        )
        lines.append(
            f"selection  {rows['in']:,} added, {rows['out']:,} removed, {rows['stayed']:,} retained"
        )
    if inputs.drift is not None:
        lines.append(f"drift      {advice(inputs.drift.open(store).frame())}")
    return lines


def listing(store: Store, series: str) -> list[str]:
    """List the selections of a series, a line each; a star marks the latest."""
    found = Series(store, series)
    latest = found.latest()
    lines = [
        f"{'*' if number == latest else ' '} {headline(series, number, found.record(number))}"
        for number in found.numbers()
    ]
    return lines or [f"series {series} has no selection yet"]


def headline(series: str, number: int, record: SelectionRecord) -> str:
    """Say in one line what a selection of a series is."""
    base = f", from selection {record.base}" if record.base else ""
    rows = record.rows
    return (
        f"selection  {number} of series {series} ({record.mode}{base}): {rows['chosen']:,} of "
        f"{rows['all']:,} rows"
    )


def as_changes(table: pl.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a membership table for a table in the UI, to which texts are Markdown."""
    return [
        {
            "change": row["change"],
            "instruction_id": markdown_text(row["instruction_id"]),
            "rank before": row["rank_before"],
            "rank": row["rank"],
            "why": markdown_text(row["why"] or "", LONG),
        }
        for row in table.iter_rows(named=True)
    ]
