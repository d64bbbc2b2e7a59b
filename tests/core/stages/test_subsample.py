"""The subsample: a part of the rows by a hash of seed and prompt, before anything is fitted."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from chain import Chosen, choose_with
from zoos import write_zoo

from crowdselect_core.config.load import load
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import SelectionError
from crowdselect_core.ingest.prompts import prompt_key, read_text
from crowdselect_core.planning.heldout import left_out_rows
from crowdselect_core.reselection.settings import measures
from crowdselect_core.stages.heldout.split import expected
from crowdselect_core.stages.partitions import open_dataset
from crowdselect_core.util.hashed_random import uniform

ROWS = 60


def config_of(folder: Path, **keys: Any) -> SelectConfig:
    zoo = write_zoo(folder / "zoo", ROWS, row_group=20)
    given = {
        "dataset": str(zoo.path), "crowd": str(zoo.crowd), "budget": 5, "clusters": 0,
        "store": str(folder / "store"), "out": str(folder / "out"), **keys,
    }  # fmt: skip
    return load(None, given, {})


def ids(found: Chosen, role: str = "instructions") -> set[str]:
    return set(found.stored(role)["instruction_id"])


def prompts(folder: Path) -> dict[str, str]:
    """The key of the prompt of every row, by id."""
    table = pl.read_parquet(folder / "zoo" / "zoo.parquet")
    return {
        row_id: prompt_key(read_text(text).messages).hex()
        for row_id, text in zip(table["uuid"], table["instruction"], strict=True)
    }


def test_a_row_stays_by_the_hash_of_seed_and_prompt(tmp_path: Path) -> None:
    found = choose_with(config_of(tmp_path, subsample={"share": 0.6}, seed=3))
    keys = prompts(tmp_path)
    drawn = dict(zip(keys, uniform(keys.values(), 3, "subsample") < 0.6, strict=True))
    assert ids(found) == {row_id for row_id, stays in drawn.items() if stays}
    assert ids(found, "ranking") == ids(found)
    assert 20 <= len(ids(found)) <= 52  # 60 draws of 0.6: 36, with a deviation of 3.8


def test_a_seed_of_its_own_is_the_runs_seed_as_far_as_the_rows_go(tmp_path: Path) -> None:
    one = choose_with(config_of(tmp_path, subsample={"share": 0.6}, seed=3))
    other = choose_with(config_of(tmp_path, subsample={"share": 0.6, "seed": 3}, seed=4))
    assert one.inputs.instructions.key == other.inputs.instructions.key
    more = choose_with(config_of(tmp_path, subsample={"share": 0.8, "seed": 3}))
    assert ids(more) > ids(one)  # a larger share keeps those of a smaller one


def test_held_out_rows_are_drawn_from_all_rows(tmp_path: Path) -> None:
    alone = choose_with(config_of(tmp_path, heldout={"share": 0.3}))
    both = choose_with(config_of(tmp_path, heldout={"share": 0.3}, subsample={"share": 0.5}))
    assert ids(both, "heldout") == ids(alone, "heldout")
    assert ids(both) < ids(alone)
    apart = choose_with(config_of(tmp_path, heldout={"share": 0.3, "seed": 0}, seed=9))
    assert ids(apart, "heldout") == ids(alone, "heldout")  # the split's own seed


def test_without_the_key_nothing_has_another_key(tmp_path: Path) -> None:
    config = config_of(tmp_path, heldout={"share": 0.3})
    found = choose_with(config)
    assert found.inputs.instructions.open(found.store).manifest.identity == {}
    assert "subsample" not in measures(config)
    raw = choose_with(config_of(tmp_path)).inputs.instructions
    assert expected(config, raw).key == found.inputs.instructions.key
    part = config_of(tmp_path, subsample={"share": 0.5})
    assert expected(part, raw).key == choose_with(part).inputs.instructions.key


def test_the_dry_run_leaves_the_same_rows_out(tmp_path: Path) -> None:
    config = config_of(tmp_path, heldout={"share": 0.2}, subsample={"share": 0.5})
    found = choose_with(config)
    out_N = left_out_rows(config, open_dataset(config))
    assert out_N is not None
    rows = list(prompts(tmp_path))
    left = {row_id for row_id, out in zip(rows, out_N, strict=True) if not out}
    assert left == ids(found)


def test_a_data_set_without_prompts_is_drawn_by_id(tmp_path: Path) -> None:
    config = config_of(tmp_path, subsample={"share": 0.5})
    bare = pl.read_parquet(tmp_path / "zoo" / "zoo.parquet").drop("instruction")
    bare.write_parquet(tmp_path / "bare.parquet")
    dataset = config.dataset.model_copy(update={"path": str(tmp_path / "bare.parquet")})
    found = choose_with(config.model_copy(update={"dataset": dataset}))
    names = bare["uuid"].to_list()
    drawn = uniform(names, 0, "subsample") < 0.5
    assert ids(found) == {i for i, stays in zip(names, drawn, strict=True) if stays}


def test_a_share_that_leaves_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SelectionError, match=r"subsample\.share 1e-09: no row of"):
        choose_with(config_of(tmp_path, subsample={"share": 1e-9}))
