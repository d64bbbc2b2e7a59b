"""The chosen rows, the rows just missed, and those refused: each with its texts and its why."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from crowdselect_core.report.page.packing import pack_json
from crowdselect_core.report.page.section import PageData, Section
from crowdselect_core.report.page.sections.overview import quantile_columns
from crowdselect_core.report.page.templating import filled
from crowdselect_core.report.page.texts import clipped, in_one_line, visible
from crowdselect_core.selection.eligibility import reason_code
from crowdselect_core.selection.metric_weights import method_weights

MOST_CHOSEN = 1_000  # rows that the table holds, the best
MISSED, REFUSED = 60, 60  # rows that are listed
FIRST = 20  # rows that stand in the page without the script
CHARACTERS = (4000, 2000, 1000, 500, 250, 120)  # of a text: the first that fits
SUMMARY = 300  # characters of a row that was not chosen
START = 160  # of an instruction in the table
NAME = 300  # characters of an id


def rows(data: PageData, room: int) -> Section:
    """List the rows, as much of their texts as there is room for."""
    chosen = _chosen(data)
    missed, refused = _missed(data), _refused(data)
    blocks = {"rows-left": pack_json({"missed": missed, "refused": refused})}
    room -= len(blocks["rows-left"])
    blocks["rows-chosen"], own = _fitting(room * 3 // 5, lambda n: _with_texts(data, chosen, n))
    room -= len(blocks["rows-chosen"])
    packed, others = _fitting(room, lambda n: _others(data, n)) if data.has_answers else (b"", 0)
    if others:
        blocks["rows-others"] = packed
    html = filled(
        "rows.html", first=chosen[:FIRST], shown=len(chosen), chosen=data.chosen.height, own=own,
        others=others, answered=len(data.answers.texts) if data.answers else 0,
        missed=missed, refused=refused, names=quantile_columns(data.ranking),
        weighed=method_weights(data.config.method, data.config.weights) is not None,
        bottom=data.config.direction == "bottom",
        misses=data.ranking.filter(pl.col("eligible") & ~pl.col("selected")).height,
        kept=data.has_answers, head="instruction" if data.has_instructions else "id",
        refusals=int((~data.ranking["eligible"]).sum()), clusters=data.inputs.clusters is not None,
    )  # fmt: skip
    return Section("rows", "The chosen rows", html, blocks)


def _fitting(room: int, make: Any) -> tuple[bytes, int]:
    """Pack what `make` returns for the most characters that fit; 0 where none do."""
    for characters in CHARACTERS:
        packed = pack_json(make(characters))
        if len(packed) <= room:
            return packed, characters
    return pack_json(make(0)), 0


def _chosen(data: PageData) -> list[dict[str, Any]]:
    """Return the best chosen rows with their numbers, and the beginning of their instruction."""
    names = quantile_columns(data.ranking)
    table = data.chosen.head(MOST_CHOSEN)
    why = data.by_id.select(
        "row", "instruction_id", "reason", "margin", "rank_in_cluster", *(f"{n}_q" for n in names)
    )
    table = table.join(why, on="instruction_id", how="left", maintain_order="left")
    starts = [_start(messages) for messages in table["messages"].to_list()]
    if not data.has_answers:  # no messages are made of the instructions alone
        starts = data.instructions(table["instruction_id"], START).to_list()
    return [
        {
            "row": row["row"], "id": visible(row["instruction_id"][:NAME]), "rank": row["rank"],
            "cluster": row["cluster_id"], "place": row["rank_in_cluster"],
            "score": row["score"], "margin": row["margin"], "why": visible(row["reason"]),
            "model": visible(row["response_model"] or "") if data.has_answers else "",
            "q": [row[f"{n}_q"] for n in names], "metrics": [row[n] for n in names],
            "start": in_one_line(start, START),
        }
        for row, start in zip(table.iter_rows(named=True), starts, strict=True)
    ]  # fmt: skip


def _start(messages: Sequence[dict[str, Any]] | None) -> str | None:
    return next((m["content"] for m in messages or () if m["role"] == "user"), None)


def _with_texts(data: PageData, chosen: list[dict[str, Any]], characters: int) -> dict[str, Any]:
    """Return the chosen rows with their turns: role, beginning, length of the whole."""
    turns = [
        [[visible(m["role"]), *clipped(m["content"], characters)] for m in messages or ()]
        for messages in data.chosen["messages"].head(MOST_CHOSEN).to_list()
    ]
    answers = data.answers
    return {
        "names": quantile_columns(data.ranking),
        "models": [visible(m.name) for m in data.config.models],
        "rewards": [visible(r) for r in data.config.reward_names],
        "rows": [row | {"turns": t} for row, t in zip(chosen, turns, strict=True)],
        "scores": answers.rounded if answers else [],
    }


def _others(data: PageData, characters: int) -> list[list[Any]]:
    """Return the crowd's answers to the best chosen rows: beginning, length of the whole."""
    if data.answers is None:
        return []
    return [[clipped(text, characters) for text in row] for row in data.answers.texts]


def _missed(data: PageData) -> list[dict[str, Any]]:
    """Return the rows that were nearest to be chosen: the least margin to the cut."""
    left = data.by_id.filter(pl.col("eligible") & ~pl.col("selected"))
    near = left.sort(["margin", "row"], descending=[True, False], nulls_last=True).head(MISSED)
    return _listed(data, near)


def _refused(data: PageData) -> list[dict[str, Any]]:
    """Return rows that were not eligible, of every reason some."""
    left = data.by_id.filter(~pl.col("eligible"))
    if left.is_empty():
        return []
    coded = left.with_columns(code=reason_code(pl.col("reason").str.strip_prefix("not eligible: ")))
    each = max(REFUSED // max(coded["code"].n_unique(), 1), 1)
    few = coded.group_by("code", maintain_order=True).head(each).head(REFUSED).sort("row")
    return _listed(data, few)


def _listed(data: PageData, rows: pl.DataFrame) -> list[dict[str, Any]]:
    texts = data.instructions(rows["instruction_id"], SUMMARY).to_list()
    return [
        {
            "row": row["row"], "id": visible(row["instruction_id"][:NAME]),
            "cluster": row["cluster_id"], "score": row["score"],
            "text": in_one_line(text, SUMMARY), "why": visible(row["reason"]),
        }
        for row, text in zip(rows.iter_rows(named=True), texts, strict=True)
    ]  # fmt: skip
