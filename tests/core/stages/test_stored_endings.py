"""Answers that are stored in a server's own words are normalised as they are read."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from test_live_stages import Echo, World, config_of

from crowdselect_core.report.generation_summary import answer_lines, answer_summary
from crowdselect_core.stages.crowd.answer_texts import Texts, open_cells
from crowdselect_core.stages.crowd.responses import sample_key
from crowdselect_core.stages.partitions import open_dataset

ENDS = {
    "cut": "MAX_TOKENS", "broken": "error", "aborted": "abort", "withheld": "SAFETY",
    "thinking": "stop", "odd": "dreamt", "whole": "stop",
}  # fmt: skip
NAMES = list(ENDS)


def stored_row(key: bytes, name: str) -> tuple[Any, ...]:
    """Return the cell of model a: text, reasoning, finish_reason, two counts, error."""
    text = "I think.\n</think>\n\nYes." if name == "thinking" else f"{name} answer"
    return key, text, None, ENDS[name], 1, 2, None


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A world in whose store model a has answered everything."""
    one = World(config_of(tmp_path, NAMES))
    rows = one.prompts.open(one.store).frame().sort("source_row")
    cells = open_cells(one.store, one.models[0])
    cells.commit(
        [
            stored_row(sample_key(key, 0), name)
            for key, name in zip(rows["prompt"], NAMES, strict=True)
        ]
    )
    return one


def table_of(world: World, echo: Echo) -> pl.DataFrame:
    (answered, _) = world.answered({"a": echo})
    texts = Texts(world.store, open_dataset(world.config), answered)
    table = answered.responses.open(world.store).frame().sort("source_row")
    return table.with_columns(
        name=pl.Series(NAMES), text=pl.Series(texts.of(table), dtype=pl.String),
        reasoning=pl.Series(texts.reasoning(table), dtype=pl.String),
    )  # fmt: skip


def test_stored_endings_are_read_in_openais_words(world: World) -> None:
    echo = Echo("a")
    rows = {row["name"]: row for row in table_of(world, echo).iter_rows(named=True)}
    assert echo.asked == 2
    assert {name: row["finish_reason"] for name, row in rows.items()} == {
        "cut": "length", "broken": "stop", "aborted": "stop", "withheld": "content_filter",
        "thinking": "stop", "odd": "dreamt", "whole": "stop",
    }  # fmt: skip
    assert {name: row["text"] for name, row in rows.items()} == {
        "cut": "cut answer", "broken": "a1: broken", "aborted": "a1: aborted", "withheld": None,
        "thinking": "Yes.", "odd": "odd answer", "whole": "whole answer",
    }  # fmt: skip
    assert rows["withheld"]["error"].startswith("content_filter: ")
    assert rows["thinking"]["reasoning"] == "I think."
    again = Echo("a")
    assert table_of(world, again)["text"].to_list() == [row["text"] for row in rows.values()]
    assert again.asked == 0


def test_what_was_asked_again_counts_after_a_merge_and_for_another_reader(world: World) -> None:
    first = table_of(world, Echo("a"))["text"].to_list()
    open_cells(world.store, world.models[0]).merge(all_small=True)
    cells = open_cells(world.store, world.models[0])
    cells.refresh()
    cells.merge(all_small=True)
    again = Echo("a")
    assert table_of(world, again)["text"].to_list() == first
    assert again.asked == 0


def test_unknown_endings_are_counted_and_shown(world: World) -> None:
    crowd = world.answered({"a": Echo("a")})
    summary = answer_summary(world.store, crowd)
    assert summary["a"]["unknown_finish_reasons"] == {"dreamt": 1}
    assert (summary["a"]["truncated"], summary["a"]["declined"]) == (1, 1)
    (of_a, of_b) = answer_lines(summary)
    assert "1 with unknown finish_reason 'dreamt'" in of_a
    assert "unknown" not in of_b
