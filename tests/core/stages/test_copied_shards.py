"""A joined table whose known rows stand as they stood: their shards are copied, not decoded."""

from pathlib import Path

import polars as pl
import pytest
from rechain import Selected, config_of, select_again, select_first
from zoos import write_zoo

from crowdselect_core.stages.base import InProcess
from crowdselect_core.stages.known_rows import KnownRows
from crowdselect_core.stages.reselect import merged_tables

ROLES = ["scores", "metrics", "answers", "ranking", "clusters"]


def behind(folder: Path) -> list[Selected]:
    """Select from a file, and again when another one lies behind it."""
    zoo = write_zoo(folder / "whole", 60, row_group=10, hostile_every=13)
    rows, data = pl.read_parquet(zoo.path), folder / "data"
    data.mkdir()
    rows[:50].write_parquet(data / "a.parquet", row_group_size=7)
    config = config_of(
        folder, dataset=str(data), crowd=str(zoo.crowd), budget=15, clusters=2, shard_rows=14
    )
    before = select_first(config)
    rows[50:].write_parquet(data / "b.parquet", row_group_size=7)
    return [before, select_again(config, before)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[Selected]:
    return behind(tmp_path_factory.mktemp("copied"))


def shards(one: Selected, role: str) -> list[bytes]:
    artifact = one.selection.inputs.refs()[role].open(one.store)
    return [artifact.bytes(index) for index in range(len(artifact.manifest.shards))]


def test_copied_shards_are_those_that_are_written_anew(
    made: list[Selected], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merged_tables, "_copied", lambda *_: None)
    again = behind(tmp_path)[1]
    for role in ROLES:
        assert shards(made[1], role) == shards(again, role)
        assert len(shards(again, role)) == 5  # 50 rows in 4, 10 more in 1


def test_every_known_shard_is_copied(made: list[Selected], monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise AssertionError("rows are looked up")

    monkeypatch.setattr(KnownRows, "rows", refused)
    before, now = made
    for role in ROLES:
        ref = now.selection.inputs.refs()[role]
        before.store.forget(ref.stage, ref.key)
        parts = now.selection.parts[role]
        rows = now.selection.inputs.instructions
        assert InProcess(before.store)(merged_tables.JOINED, now.config, rows, parts).key == ref.key


def test_a_joined_table_outlives_its_parts(made: list[Selected]) -> None:
    now = made[1]
    joined = now.selection.inputs.scores.open(now.store)
    rows = joined.frame()
    for part in now.selection.parts["scores"]:
        now.store.forget(part.stage, part.key)
    assert joined.frame().equals(rows)
    assert joined.manifest.counts == {"missing_scores": sum(rows.null_count().row(0))}
