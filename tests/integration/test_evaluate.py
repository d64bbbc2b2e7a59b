"""The evaluation as a user runs it, and what the Prefect UI gets of it."""

from pathlib import Path

import polars as pl
import pytest
from command import Command
from judged import graded, write_rows
from runs import Server

pytestmark = pytest.mark.server

HOSTILE = "<b>m</b>|\x1b"


def test_a_leaderboard_from_files(command: Command, server: Server, tmp_path: Path) -> None:
    rows = [graded(model, 81, 1, score) for model, score in (("m", 8), (HOSTILE, 4))]
    file = write_rows(tmp_path / "gpt-4_single.jsonl", rows)
    evaluate = command.of("evaluate").within(tmp_path / "run")
    result = evaluate.run("--judgments", file, "--benchmark", "mt-bench", "--out", "out").ended(0)
    assert "average  all       m" in result.stdout
    assert "out/leaderboard.parquet" in result.stdout
    assert all(c.isprintable() or c == "\n" for c in result.shown)
    table = pl.read_parquet(tmp_path / "run" / "out" / "leaderboard.parquet")
    values = table.filter(pl.col("metric") == "average").select("model", "value")
    assert dict(values.iter_rows()) == {"m": 8.0, HOSTILE: 4.0}
    run = server.latest()
    assert run["state"]["type"] == "COMPLETED"
    artifact = server.artifacts(run)["leaderboard"]
    assert (artifact["type"], "<" in artifact["data"]) == ("markdown", False)


def test_what_the_user_can_mend(command: Command, tmp_path: Path) -> None:
    evaluate = command.of("evaluate").within(tmp_path)
    assert "evaluation.benchmarks is missing" in evaluate.run().ended(2).error
    nowhere = ("--judgments", tmp_path / "none", "--benchmark", "mt-bench", "--dry-run")
    assert "none: no such file or folder" in evaluate.run(*nowhere).ended(2).error
    file = write_rows(tmp_path / "x_single.jsonl", ['{"question_id": 81, "mod'])
    flags = ("--judgments", file, "--benchmark", "mt-bench")
    assert "x_single.jsonl: line 1: is no JSON" in evaluate.run(*flags).ended(2).error
    assert not (tmp_path / "out" / "leaderboard.parquet").exists()
