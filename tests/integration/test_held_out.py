"""Held-out rows through the commands: nobody is asked for them, and a series keeps them out."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from chain import choose
from command import Command
from endpoints import model, serving, write_work
from zoos import write_zoo

from crowdselect_core.ingest.prompts import prompt_key, read_text
from crowdselect_core.stages.heldout.split import is_drawn

pytestmark = pytest.mark.server

SHARE = 0.25


def drawn(texts: list[str]) -> list[bool]:
    """Which prompts are held out with the seed 0."""
    held: list[bool] = is_drawn([read_text(t) for t in texts], SHARE, 0).tolist()
    return held


def test_no_model_is_asked_for_a_held_out_row(command: Command, tmp_path: Path) -> None:
    work = tmp_path / "work"
    run = command.within(work)
    with serving(tmp_path / "endpoint") as endpoint:
        crowd = [model("a", 1, endpoint.url), model("b", 2, endpoint.url)]
        config = write_work(work, 60, crowd, heldout={"share": SHARE})
        lines = (work / "data.jsonl").read_text().splitlines()
        texts = [json.loads(line)["instruction"] for line in lines]
        out = {t for t, held in zip(texts, drawn(texts), strict=True) if held}
        plan = run.run("--config", config, "--dry-run").ended(0)
        assert f"held out   {len(out)} rows" in plan.stdout
        assert f"a: {60 - len(out)} requests (0% cached)" in plan.stdout
        ended = run.run("--config", config).ended(0)
        asked = [len(endpoint.of(name)) for name in ("a", "b")]
    assert f"held out   {len(out)} rows, and 0 near-duplicates left out" in ended.stdout
    assert asked == [60 - len(out)] * 2
    left = {prompt_key(read_text(t).messages).hex() for t in set(texts) - out}
    assert set(pl.read_parquet(work / "out/ranking.parquet")["instruction_id"]) == left
    summary = json.loads((work / "out/manifest.json").read_text())["summary"]
    assert summary["heldout"] == {"rows": len(out), "near_duplicates": 0}


def test_a_series_keeps_its_held_out_rows(command: Command, tmp_path: Path) -> None:
    zoo = write_zoo(tmp_path / "whole", 130, row_group=10)
    rows = pl.read_parquet(zoo.path)
    (tmp_path / "data").mkdir()
    rows[:100].write_parquet(tmp_path / "data/a.parquet", row_group_size=10)
    flags = ["--dataset", "data", "--crowd", str(zoo.crowd), "--budget", "20", "--clusters", "2",
             "--shard-rows", "20"]  # fmt: skip
    held = ["--heldout-share", str(SHARE)]
    run = command.within(tmp_path).of("reselect")
    run.run(*flags, *held).ended(0)
    calm = run.run(*flags, *held).ended(0)
    assert "no new rows since selection 1" in calm.stdout

    first = rows[:100].filter(pl.Series(drawn(rows[:100]["instruction"].to_list())))
    copy = first[:1].with_columns(uuid=pl.lit("copy of a held-out row"))
    pl.concat([rows[100:], copy]).write_parquet(tmp_path / "data/b.parquet", row_group_size=10)
    whole = pl.concat([rows, copy])
    out = whole.filter(pl.Series(drawn(whole["instruction"].to_list())))
    frozen = run.run(*flags, *held).ended(0)
    ranking = pl.read_parquet(tmp_path / "out/ranking.parquet")
    near = whole.height - out.height - ranking.height
    assert f"held out   {out.height} rows, and {near} near-duplicates left out" in frozen.stdout
    assert not set(ranking["instruction_id"]) & set(out["uuid"])
    assert "copy of a held-out row" in set(out["uuid"])

    run.run(*flags, *held, "--mode", "refit").ended(0)
    keys: dict[str, Any] = {"heldout": {"share": SHARE}, "budget": 20, "clusters": 2}
    plain = choose(
        tmp_path / "plain", dataset=str(tmp_path / "data"), crowd=str(zoo.crowd), shard_rows=20,
        **keys,
    )  # fmt: skip
    for name in ("selection.parquet", "ranking.parquet", "train.jsonl"):
        assert (tmp_path / "out" / name).read_bytes() == (plain.out / name).read_bytes(), name
