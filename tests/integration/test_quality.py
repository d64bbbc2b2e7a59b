"""The quality gates as a user runs them: counts alone, a selection, and what ends with exit 2."""

import json
from pathlib import Path

import polars as pl
import pytest
import yaml
from command import Command
from zoos import HOSTILE, NAMES, write_zoo

pytestmark = pytest.mark.server

NOT_ALONE = ("embeddings", "centers", "clusters", "lengths", "selection")  # needless to the gates


def test_counts_alone_then_a_selection(command: Command, tmp_path: Path) -> None:
    zoo = write_zoo(tmp_path / "data", rows=60, row_group=20, hostile_every=30)
    table = pl.read_parquet(zoo.path)
    first = table["instruction"][1]
    texts = [first if i == 2 else text for i, text in enumerate(table["instruction"])]
    table.with_columns(pl.Series("instruction", texts)).write_parquet(zoo.path)
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(json.dumps({"prompt": texts[5], "id": HOSTILE}) + "\n")
    config = tmp_path / "config.yaml"
    gates = {"broken": True, "duplicates": ["exact"], "decontamination": str(prompts)}
    config.write_text(yaml.safe_dump({"quality": gates, "budget": 5, "clusters": 2}))

    flags = [*zoo.flags, "--config", str(config), "--response", NAMES[0]]
    select = command.within(tmp_path / "run")
    dry = select.run(*flags, "--quality-only", "--dry-run").ended(0)
    assert "row-filters: to compute" in dry.stdout
    assert not any(f"stage      {name}:" in dry.stdout for name in NOT_ALONE)
    alone = select.run(*flags, "--quality-only", "--clusters", "50000").ended(0)
    out = tmp_path / "run" / "out"
    assert [p.name for p in out.iterdir()] == ["quality.json"]
    told = json.loads((out / "quality.json").read_text())
    removed = {gate: found["removed"] for gate, found in told["gates"].items()}
    assert removed == {"broken": 2, "decontamination": 1, "duplicates": 1}  # hostile: NUL
    assert "duplicates: 1 removed (exact 1)" in alone.stdout
    assert all(c.isprintable() or c == "\n" for c in alone.shown)

    chosen = select.run(*flags).ended(0)
    assert f"{told['passed']} of {told['candidates']} rows pass all gates" in chosen.stdout
    assert chosen.stages("Cached")[:4] == ["instructions", "scores", "metrics", "answers"]
    assert json.loads((out / "quality.json").read_text()) == told
    reasons = pl.read_parquet(out / "ranking.parquet")["reason"].to_list()
    assert sum("not eligible: duplicate_of: " in reason for reason in reasons) == 1
    assert "quality" in json.loads((out / "manifest.json").read_text())["summary"]

    again = select.run(*flags, "--quality-only").ended(0)  # beside a selection
    assert "seconds" in again.stdout
    config.write_text(yaml.safe_dump({"quality": {"broken": True}, "budget": 5}))
    lone = select.run(*flags, "--quality-only", "--dry-run").ended(0)  # no gate needs a ranking
    assert "gated: " in lone.stdout
    assert "ranking: " not in lone.stdout


def test_what_the_user_can_mend(command: Command, tmp_path: Path) -> None:
    zoo = write_zoo(tmp_path / "data", rows=10)
    config = tmp_path / "config.yaml"
    config.write_text("quality: {length: {response: {min_words: 900}}}")
    select = command.within(tmp_path / "run")
    error = select.run(*zoo.flags, "--config", config, "--budget", "2").ended(2).error
    assert "quality.length removes all " in error
    alone = select.run(*zoo.flags, "--config", config, "--quality-only").ended(2)
    assert "quality.length removes all " in alone.error
    told = json.loads((tmp_path / "run" / "out" / "quality.json").read_text())
    assert (told["passed"], told["gates"]["length"]["removed"]) == (0, told["candidates"])
    assert told["gates"]["length"]["examples"]
    config.write_text("quality: {broken: true, only: true}")
    reselect = command.of("reselect").within(tmp_path / "run")
    error = reselect.run(*zoo.flags, "--config", config, "--mode", "refit").ended(2).error
    assert "quality.only" in error
    assert "flows.reselect does not take --quality-only" in (
        reselect.run(*zoo.flags, "--quality-only").ended(2).error
    )
