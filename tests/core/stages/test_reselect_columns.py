"""What a frozen selection does in columns, held against joins of whole tables by their ids."""

from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from rechain import Selected, config_of, select_again, select_first
from zoos import write_zoo

from crowdselect_core.export.ranking_rows import ExplainedRows
from crowdselect_core.metrics.drift import drift
from crowdselect_core.selection.diff import membership
from crowdselect_core.stages.base import InProcess
from crowdselect_core.stages.graph import ARRIVALS
from crowdselect_core.stages.refs import Ref
from crowdselect_core.tables import METRIC_NAMES
from flows.reselect_steps import compared
from flows.select import chosen

# The rows of each file at every selection: rows arrive in front of the others and behind them,
# leave from the middle, change their order, and one returns.
FILES = [
    {"b": [*range(60)]},
    {"a": [*range(60, 70)], "b": [*range(20), *range(25, 60)]},
    {"a": [*range(69, 59, -1)], "b": [*range(19, -1, -1), *range(24, 60)], "c": [*range(70, 90)]},
]


def series(folder: Path, shard_rows: list[int]) -> list[Selected]:
    """Select once and then again, as files change; shards are cut anew every time."""
    zoo = write_zoo(folder / "whole", 90, row_group=10, hostile_every=13)
    rows, data, made = pl.read_parquet(zoo.path), folder / "data", list[Selected]()
    data.mkdir()
    for number, (files, size) in enumerate(zip(FILES, shard_rows, strict=True)):
        for name, kept in files.items():
            rows[kept].write_parquet(data / f"{name}.parquet", row_group_size=7)
        config = config_of(
            folder, dataset=str(data), crowd=str(zoo.crowd), budget=15, clusters=0,
            shard_rows=size, out=str(folder / f"out{number}"),
        )  # fmt: skip
        made.append(select_again(config, made[-1]) if made else select_first(config))
    return made


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[Selected]:
    return series(tmp_path_factory.mktemp("series"), [8, 50, 6])


def table(one: Selected, ref: Ref | None) -> pl.DataFrame:
    assert ref is not None
    return ref.open(one.store).frame()


def test_files_are_the_same_whatever_the_shards(made: list[Selected], tmp_path: Path) -> None:
    for ours, theirs in zip(made, series(tmp_path, [1000, 1000, 1000]), strict=True):
        files = sorted(path.name for path in ours.out.iterdir())
        assert files == sorted(path.name for path in theirs.out.iterdir())
        for name in set(files) - {"manifest.json"}:
            assert (ours.out / name).read_bytes() == (theirs.out / name).read_bytes(), name


def test_rows_that_are_not_known_are_new(made: list[Selected]) -> None:
    assert made[1].changes == {"new": 10, "back": 0, "gone": 5}
    assert made[2].changes == {"new": 20, "back": 1, "gone": 0}
    for before, now in pairwise(made):
        parts = [table(before, ref) for ref in before.selection.parts["scores"]]
        known = pl.concat(part.select("instruction_id") for part in parts)
        rows = table(now, now.selection.inputs.instructions)
        expected = rows.join(known, on="instruction_id", how="anti", maintain_order="left")
        assert table(now, now.arrived).equals(expected)


@pytest.mark.parametrize("role", ["scores", "metrics", "answers", "ranking"])
def test_joined_tables_have_the_rows_of_today_as_they_were_measured(
    made: list[Selected], role: str
) -> None:
    for one in made[1:]:
        today = table(one, one.selection.inputs.instructions)
        parts = pl.concat(table(one, ref) for ref in one.selection.parts[role])
        places = [name for name in ("source", "source_row") if name in parts.columns]
        expected = today.select("instruction_id", *places).join(
            parts.drop(places), on="instruction_id", how="left", maintain_order="left"
        )
        found = table(one, one.selection.inputs.refs()[role])
        assert found.equals(expected.select(parts.columns))


def test_membership_is_that_of_two_whole_rankings(made: list[Selected]) -> None:
    for before, now in pairwise(made):
        then, today = (
            ExplainedRows(one.config, one.store, one.selection.inputs).table()
            for one in (before, now)
        )
        expected = membership(then, today, table(now, now.arrived)["instruction_id"])
        assert table(now, now.selection.inputs.membership).equals(expected)


def test_drift_is_of_the_rows_that_the_fit_does_not_have(made: list[Selected]) -> None:
    none = pl.lit(None, dtype=pl.Int64)
    fit, first, second = (
        table(made[number], ref).select(*METRIC_NAMES, "eligible", cluster_id=none)
        for number, ref in (
            (0, made[0].selection.inputs.ranking),
            (1, made[1].selection.parts["ranking"][-1]),
            (2, made[2].selection.parts["ranking"][-1]),
        )
    )  # fmt: skip
    assert table(made[1], made[1].selection.inputs.drift).equals(drift(fit, first, "new"))
    both = drift(fit, pl.concat([first, second]), "since the fit")
    expected = pl.concat([drift(fit, second, "new"), both])
    assert table(made[2], made[2].selection.inputs.drift).equals(expected)


def test_a_refit_may_rank_by_another_method(made: list[Selected]) -> None:
    before = made[-1]
    config = before.config.model_copy(update={"method": "length", "mode": "refit"})
    run = InProcess(before.store)
    now = chosen(config, run=run)
    none = run(ARRIVALS, config, now.inputs.instructions, before.selection.parts["scores"])
    now = compared(config, before.selection, now, none, None, run=run)
    members = table(before, now.inputs.membership)
    assert members.filter(change="in")["why"].str.contains("; tokens [0-9]+").all()
    assert members["why"].null_count() == 0
