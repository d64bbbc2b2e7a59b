"""The closing summary as text for a terminal and as Markdown for the Prefect UI.

Texts and ids come from the data and are hostile: control characters are shown as escapes, and in
Markdown everything is HTML-escaped with its markup switched off.
"""

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from crowdselect_core.report.method_cost import cost_line
from crowdselect_core.report.quality import gate_lines
from crowdselect_core.report.summary import in_words
from crowdselect_core.util.text import plain, plural

WIDTH = 72  # characters of an instruction that are shown
LONG = 400  # characters of our own sentences, of lists of reasons and of paths


def one_line(text: str | None, width: int = WIDTH) -> str:
    """Return the start of a text on one line, its control characters escaped."""
    if text is None:
        return ""
    flat = plain(" ".join(text[: width * 4].split()))
    return flat if len(flat) <= width else flat[: width - 3] + "..."


def markdown_text(text: str, width: int = WIDTH) -> str:
    """Return the start of a text so that Markdown and HTML show it as it is."""
    escaped = html.escape(one_line(text, width), quote=False)
    return re.sub(r"([\\`*_{}\[\]()#+\-.!|~$:])", r"\\\1", escaped)


def as_text(
    summary: Mapping[str, Any], stages: Sequence[Mapping[str, Any]], files: Sequence[str]
) -> str:
    """Write the closing summary for a terminal.

    Args:
        summary: what `summarise` gathered.
        stages: name, seconds and cached of every stage, in order.
        files: the results.
    """
    lines = [f"{label:<10} {value}" for label, value in _facts(summary)]
    lines += [f"{'overlap':<10} {line}" for line in _overlaps(summary)]
    lines += [stages_line(stages)] if stages else []
    lines += [f"{'files':<10} {file}" for file in files]
    for title, rows in _rows(summary):
        lines += ["", title]
        for row in rows:
            name = one_line(row["instruction"]) or one_line(row["instruction_id"])
            lines += [f"  {name}", f"    {one_line(row['why'], LONG)}"]
    return "\n".join(lines)


def as_markdown(
    summary: Mapping[str, Any], stages: Sequence[Mapping[str, Any]], files: Sequence[str]
) -> str:
    """Write the closing summary as Markdown; everything that came with the data is escaped."""
    facts = [("overlap", line) for line in _overlaps(summary)]
    lines = ["# Selection", "", "| | |", "|---|---|"]
    lines += [
        f"| {label} | {markdown_text(value, LONG)} |" for label, value in [*_facts(summary), *facts]
    ]
    lines += ["", "## Stages", "", "| stage | seconds | |", "|---|---|---|"]
    lines += [
        f"| {s['stage']} | {s['seconds']:.2f} | {'cached' if s['cached'] else 'computed'} |"
        for s in stages
    ]
    lines += ["", "## Files", "", *(f"- {markdown_text(file, LONG)}" for file in files)]
    for title, rows in _rows(summary):
        lines += ["", f"## {title}", ""]
        for row in rows:
            name = one_line(row["instruction"]) or row["instruction_id"]
            lines += [f"- **{markdown_text(name)}**", f"  {markdown_text(row['why'], LONG)}"]
    return "\n".join(lines) + "\n"


def as_rows(selection: pl.DataFrame) -> list[dict[str, Any]]:
    """Return chosen rows for a table in the UI, to which texts are Markdown; they are cut."""
    return [
        {
            "rank": row["rank"],
            "instruction": markdown_text(row["messages"][0]["content"] if row["messages"] else ""),
            "cluster": row["cluster_id"],
            "score": round(row["score"], 4),
            "model": markdown_text(row["response_model"] or ""),
            "response": markdown_text(row["response"] or ""),
            "instruction_id": markdown_text(row["instruction_id"]),
        }
        for row in selection.iter_rows(named=True)
    ]


def _facts(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    reasons = ", ".join(f"{n} {in_words(r)}" for r, n in summary["ineligible"].items())
    ineligible = sum(summary["ineligible"].values())
    rows_in = f"{summary['rows_in']:,}"
    if summary["duplicate_rows"]:
        rows_in += f" ({plural(summary['duplicate_rows'], 'duplicate')})"
    if summary["missing_scores"]:
        rows_in += f", {plural(summary['missing_scores'], 'score')} missing"
    facts = [
        ("rows in", rows_in),
        *_heldout(summary),
        ("eligible", f"{summary['eligible']:,}"),
        ("ineligible", f"{ineligible:,}" + (f": {reasons}" if reasons else "")),
        *(("quality", one_line(line, LONG)) for line in gate_lines(summary.get("quality"))),
        ("clusters", _clusters(summary["clusters"])),
        ("chosen", f"{summary['chosen']:,} by {summary['method']}"),
    ]
    facts.append(("cost", cost_line(summary["cost"])))
    if summary["student"]:
        facts.append(("student", _student(summary["student"])))
    if summary["pairs"] or summary["without_pair"]:
        facts.append(
            ("pairs", f"{summary['pairs']:,} ({summary['without_pair']:,} chosen rows have none)")
        )
    if summary["changes"]:
        change = summary["changes"]
        facts.append(
            (
                "changes",
                f"{plural(change['came'], 'row')} added, {change['went']:,} removed, "
                f"{change['stayed']:,} retained since the previous selection",
            )
        )
    facts += [("note", one_line(note, 300)) for note in summary["notes"]]
    for pair in summary["agreement"]:
        rho = "undefined" if pair["rho"] is None else f"{pair['rho']:.2f}"
        names = " and ".join(one_line(name) for name in pair["of"])
        facts.append(("agreement", f"{names}: rank correlation of difficulty {rho}"))
    return facts


def _heldout(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Say how many rows are set aside; nothing where none is."""
    if "heldout" not in summary:
        return []
    found = summary["heldout"]
    near = plural(found["near_duplicates"], "near-duplicate")
    words = f"{plural(found['rows'], 'row')}, and {near} left out"
    return [("held out", words)]


def _student(student: Mapping[str, Any]) -> str:
    name = one_line(student["name"])
    if student["mean_score"] is None:
        return f"{name} has no score"
    behind = "undefined" if student["mean_headroom"] is None else f"{student['mean_headroom']:.4g}"
    return (
        f"{name}: mean score {student['mean_score']:.4g} over {plural(student['scores'], 'row')}, "
        f"mean headroom {behind}"
    )


def _clusters(sizes: Sequence[int]) -> str:
    if not sizes:
        return "none"
    least, most = min(sizes), max(sizes)
    each = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    return f"{len(sizes)} with chosen rows, {each} each"


def _overlaps(summary: Mapping[str, Any]) -> list[str]:
    return [
        f"{o['overlap']:,} of {summary['chosen']:,} with {o['baseline']} "
        f"({o['by_chance']:.1f} expected by chance)"
        for o in summary["overlaps"]
    ]


def stages_line(stages: Sequence[Mapping[str, Any]]) -> str:
    """Say how long every stage took, or that it was cached; a stage of many models once."""
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for stage in stages:
        by_name.setdefault(stage["stage"], []).append(stage)
    return f"{'seconds':<10} " + ", ".join(_seconds(n, s) for n, s in by_name.items())


def _seconds(name: str, stages: Sequence[Mapping[str, Any]]) -> str:
    longest = max(s["seconds"] for s in stages)
    cached = sum(bool(s["cached"]) for s in stages)
    if len(stages) == 1:
        return f"{name} {longest:.1f}" + (" (cached)" if cached else "")
    of_these = f", {cached} cached" if cached else ""
    return f"{name} {longest:.1f} (the longest of {len(stages)}{of_these})"


def _rows(summary: Mapping[str, Any]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    shown = summary["shown"]
    examples = [
        ("Examples of chosen rows", shown["chosen"]),
        ("Examples of rows not chosen", shown["not_chosen"]),
    ]
    return [(title, rows) for title, rows in examples if rows]
