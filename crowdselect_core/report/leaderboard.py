"""The leaderboard as text for a terminal and as Markdown for the Prefect UI.

Names of models and judges come from files and are hostile: they are escaped as all text is.
"""

from typing import Any

import polars as pl

from crowdselect_core.report.text import LONG, markdown_text, one_line

HEADER = (
    "benchmark", "metric", "category", "model", "judge", "value", "95 % interval", "n", "unparsed",
)  # fmt: skip
NAMES = 5  # columns of text; numbers stand to the right
TEN = 10.0  # the highest grade
NAME = 48  # characters of a name that are shown


def as_lines(table: pl.DataFrame, notes: list[str], official: bool = False) -> list[str]:
    """Write the results over all categories for a terminal, with the notes below.

    Args:
        table: `leaderboard.COLUMNS`.
        notes: what a reader must know of it.
        official: whether the intervals are those of the benchmark's own script.
    """
    shown = _overall(table)
    rows = [_header(official), *(_cells(row) for row in shown.iter_rows(named=True))]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADER))]
    lines = [
        "  ".join(
            cell.ljust(width) if i < NAMES else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    if shown.height < table.height:
        lines.append("the results by category stand in leaderboard.parquet")
    return lines + [f"note: {one_line(note, LONG)}" for note in notes]


def as_markdown(table: pl.DataFrame, notes: list[str], official: bool = False) -> str:
    """Write every result as Markdown; names and notes are escaped."""
    lines = [f"| {' | '.join(_header(official))} |", "|---|---|---|---|---|---:|---:|---:|---:|"]
    lines += [
        f"| {' | '.join(markdown_text(cell) for cell in _cells(row))} |"
        for row in table.iter_rows(named=True)
    ]
    return "\n".join([*lines, "", *(f"- {markdown_text(note, LONG)}" for note in notes)]) + "\n"


def _overall(table: pl.DataFrame) -> pl.DataFrame:
    """Return the rows over all categories, and by category where a judge has no such row."""
    of_all = pl.col("category").is_null()
    return table.filter(of_all | ~of_all.any().over("benchmark", "judge", "metric"))


def _header(official: bool) -> list[str]:
    interval = {"95 % interval": "official interval"} if official else {}
    return [interval.get(name, name) for name in HEADER]


def _cells(row: dict[str, Any]) -> list[str]:
    high = max(abs(row[c] or 0.0) for c in ("value", "low", "high"))
    digits = 2 if high > TEN else 3  # per cent, or shares, grades and losses
    low = row["low"]
    interval = "-" if low is None else f"{low:.{digits}f} - {row['high']:.{digits}f}"
    value = "-" if row["value"] is None else f"{row['value']:.{digits}f}"
    names = [row["benchmark"], row["metric"], row["category"] or "all", row["model"]]
    shown = [one_line(name, NAME) for name in (*names, row["judge"] or "-")]
    return [*shown, value, interval, f"{row['n']:,}", f"{row['unparsed']:,}"]
