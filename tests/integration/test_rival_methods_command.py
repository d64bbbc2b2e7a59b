"""Rival methods as a user runs them: one that annotates with a model, and one of a column."""

from pathlib import Path

import polars as pl
import pytest
import yaml
from command import Command
from endpoints import serving
from tinymodel import write_tiny
from zoos import write_zoo

pytestmark = [pytest.mark.server, pytest.mark.model]


def test_ifd_annotates_the_rows_once_and_a_column_ranks(command: Command, tmp_path: Path) -> None:
    zoo = write_zoo(tmp_path / "data", rows=24, row_group=24)
    table = pl.read_parquet(zoo.path).with_columns(depth=pl.int_range(24))
    table.write_parquet(zoo.path)
    model = write_tiny(tmp_path / "tiny")
    select = command.with_models().within(tmp_path / "run")
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


def test_the_model_of_ifd_is_trained_first(command: Command, tmp_path: Path) -> None:
    """Trained once; its cells are other than the untrained model's."""
    zoo = write_zoo(tmp_path / "data", rows=24, row_group=24)
    model = write_tiny(tmp_path / "tiny", max_position_embeddings=512)
    config = tmp_path / "config.yaml"
    first = {"rows": 8, "clusters": 2, "learning_rate": 1e-3, "global_batch_size": 4}
    ifd = {"model": str(model), "pre_experienced": first | {"max_length": 256}}
    config.write_text(yaml.safe_dump({"method": "ifd", "ifd": ifd, "budget": 2, "clusters": 0}))
    select = command.with_models().within(tmp_path / "run")
    dry = select.run(*zoo.flags, "--config", config, "--dry-run").ended(0)
    assert "annotations: to compute" in dry.stdout
    told = select.run(*zoo.flags, "--config", config).ended(0)
    assert "a training on 8 rows first" in told.stdout
    out = tmp_path / "run" / "out" / "ranking.parquet"
    trained = pl.read_parquet(out)["ifd"]
    again = select.run(*zoo.flags, "--config", config).ended(0)
    assert {"finetune", "annotations"} <= set(again.stages("Cached"))

    config.write_text(
        yaml.safe_dump({"method": "ifd", "ifd": {"model": str(model)}, "budget": 2, "clusters": 0})
    )
    select.run(*zoo.flags, "--config", config).ended(0)
    plain = pl.read_parquet(out)["ifd"]
    assert trained.null_count() == plain.null_count()
    assert trained.to_list() != plain.to_list()


def test_an_endpoint_that_is_down_is_told_before_anything_is_computed(
    command: Command, tmp_path: Path
) -> None:
    zoo = write_zoo(tmp_path / "data", rows=12, row_group=12)
    config = tmp_path / "config.yaml"
    select = command.within(tmp_path / "run")
    with serving(tmp_path / "endpoint") as endpoint:
        engine = {"kind": "openai", "base_url": endpoint.url, "model": "model"}
        keys = {"method": "instag", "budget": 2, "clusters": 0}
        told = {"engine": engine, "min_frequency": 1}
        config.write_text(yaml.safe_dump(keys | {"instag": told}))
        endpoint.kill()
        down = select.run(*zoo.flags, "--config", config)
        assert "does not answer" in down.ended(2).error
        assert not down.stages(" rows")
    with serving(tmp_path / "other") as endpoint:
        told["engine"] = engine | {"base_url": endpoint.url}
        config.write_text(yaml.safe_dump(keys | {"instag": told}))
        tagged = select.run(*zoo.flags, "--config", config).ended(0)
        ranking = pl.read_parquet(tmp_path / "run" / "out" / "ranking.parquet")
        assert ranking["tag_names"].list.len().max() >= 1
        endpoint.kill()
        stored = select.run(*zoo.flags, "--config", config, "--budget", "3").ended(0)
    assert "annotations" not in tagged.stages("Cached")
    assert "annotations" in stored.stages("Cached")  # what is stored needs no endpoint
