"""What the Prefect UI gets of a run, and that nothing of the data's markup reaches it."""

import json
import re

import pytest
from runs import Run, Server
from zoos import HOSTILE

pytestmark = pytest.mark.server


def test_the_first_run_has_a_task_run_per_stage(undisturbed: Run, server: Server) -> None:
    run = server.flow_run(undisturbed.flow_run)
    assert (run["state"]["type"], run["state"]["name"]) == ("COMPLETED", "Completed")
    states = {t["state"]["name"] for t in server.tasks(run).values()}
    assert states == {"Completed"}
    assert run["parameters"]["config"]["budget"] == 30


def test_the_summary_shows_hostile_texts_as_text(undisturbed: Run, server: Server) -> None:
    summary = server.artifacts(undisturbed.flow_run)["selection-summary"]
    text = summary["data"]
    assert summary["type"] == "markdown"
    assert "# Selection" in text
    assert "30 by crowdselect" in text
    assert "&lt;script&gt;" in text, "a hostile row is among those shown"
    assert not set(text) & {"<", "\x00", "\x1b"}
    hostile = [line for line in text.splitlines() if "&lt;script&gt;" in line]
    for line in hostile:
        row = line.removeprefix("| ").removesuffix(" |")  # of a table, if it is one of a table
        free = re.findall(r"(?<!\\)(?:\\\\)*([`\[\]|])", row.replace(" | ", "", 1))
        assert free == [], "markup of the data works"


def test_the_table_shows_hostile_texts_as_text(undisturbed: Run, server: Server) -> None:
    table = server.artifacts(undisturbed.flow_run)["selection-rows"]
    rows = json.loads(table["data"])
    assert table["type"] == "table"
    assert len(rows) == 30
    assert [row["rank"] for row in rows] == list(range(1, 31))
    hostile = [row for row in rows if "script" in row["instruction_id"]]
    assert hostile
    for row in hostile:
        assert "\\x00" in row["instruction_id"]
        texts = [cell for cell in row.values() if isinstance(cell, str)]
        assert not set("".join(texts)) & {"\x00", "\x1b", "\n"}


def test_the_terminal_shows_no_control_characters(undisturbed: Run) -> None:
    shown = undisturbed.result.shown
    assert HOSTILE[:8] in shown
    assert all(c.isprintable() or c == "\n" for c in shown)
