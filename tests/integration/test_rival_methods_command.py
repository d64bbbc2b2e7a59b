"""Rival methods as a user runs them: one that annotates with a model, and one of a column."""

from pathlib import Path

import polars as pl
import pytest
from command import Command
from tinymodel import write_tiny
from zoos import write_zoo

pytestmark = [pytest.mark.server, pytest.mark.model]


def test_ifd_annotates_the_rows_once_and_a_column_ranks(command: Command, tmp_path: Path) -> None:
    zoo = write_zoo(tmp_path / "data", rows=24, row_group=24)
    table = pl.read_parquet(zoo.path).with_columns(depth=pl.int_range(24))
    table.write_parquet(zoo.path)
    model = write_tiny(tmp_path / "tiny")
    select = command.within(tmp_path / "run")
    flags = [*zoo.flags, "--budget", "5", "--clusters", "0"]
    ifd = [*flags, "--method", "ifd", "--ifd-model", str(model)]

    first = select.run(*ifd).ended(0)
    assert "by ifd" in first.stdout
    ranking = pl.read_parquet(tmp_path / "run" / "out" / "ranking.parquet")
    lacks = ranking.filter(pl.col("reason").str.starts_with("not eligible"))
    numbers = ranking.join(lacks, on="instruction_id", how="anti")
    assert numbers["ifd"].null_count() == 0 < numbers["ifd"].min() <= numbers["ifd"].max() <= 1
    best = numbers.sort("ifd", descending=True)["instruction_id"][:5]
    chosen = pl.read_parquet(tmp_path / "run" / "out" / "selection.parquet")["instruction_id"]
    assert set(chosen) == set(best)
    assert "annotations" not in first.stages("Cached")
    assert "annotations" in select.run(*ifd).ended(0).stages("Cached")

    by_column = select.run(*flags, "--method", "column:depth").ended(0)
    assert "by column:depth" in by_column.stdout
    selection = pl.read_parquet(tmp_path / "run" / "out" / "selection.parquet")
    deepest = table.join(selection, left_on="uuid", right_on="instruction_id", how="semi")["depth"]
    assert len(selection) == 5
    assert deepest.min() >= 24 - 5 - 1  # a row may lack scores
