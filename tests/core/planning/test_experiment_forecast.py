"""`flows.experiment --dry-run`: what models would be asked, and what is known of the trainings."""

from pathlib import Path
from typing import Any

import pytest
from zoos import write_zoo

from crowdselect_core.config.load import load
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.experiment.cells import Cell, Replicate, Setting
from crowdselect_core.experiment.grid import Point
from crowdselect_core.planning.experiment_forecast import experiment_forecast, training_lines
from crowdselect_core.planning.experiment_lookup import Found
from crowdselect_core.stages.refs import Ref
from crowdselect_core.store.artifacts import Store
from flows.experiment import planned

ENGINE = {"kind": "openai", "base_url": "http://127.0.0.1:1/v1", "model": "m"}


def config(folder: Path, replicate: dict[str, Any], **more: Any) -> SelectConfig:
    zoo = write_zoo(folder / "zoo", 40)
    return load(None, {
        "dataset": str(zoo.path), "crowd": str(zoo.crowd), "store": str(folder / "store"),
        "direct_score": {"engine": ENGINE, "sampling": {"max_tokens": 8}},
        "instag": {"engine": ENGINE, "sampling": {"max_tokens": 8}},
        "experiment": {
            "methods": ["crowdselect", "direct-score", "instag"], "clusters": [0],
            "budgets": [3, 5], "seeds": [0, 1], "replicate": replicate, "controls": False,
            "train": False,
        }, **more,
    }, {}, flow="experiment")  # fmt: skip


def test_what_models_of_methods_are_asked_is_billed_once(tmp_path: Path) -> None:
    lines = experiment_forecast(config(tmp_path, {"subsample": 0.5}), planned, str)
    billed = [line for line in lines if line.startswith("annotated  ")]
    assert [line.split(":")[0] for line in billed] == [
        "annotated  direct-score", "annotated  instag",
    ]  # fmt: skip
    for line in billed:
        assert " at most 40 rows to read (0 cached), 40 requests, " in line
        assert line.endswith("once for all cells and replicates")


@pytest.mark.model
def test_a_training_of_unknown_speed_takes_no_zero_hours(tmp_path: Path) -> None:
    own = config(tmp_path, {"split": False})
    cell = Cell("a", own, "crowdselect", Setting())
    found = Found(Point(cell, Replicate(0, 0), own), Ref.to_compute("selection"), False)
    lines = list(training_lines([found, found], Store(own.store)))
    assert lines[0].startswith("time       not known of 2 trainings, nor is their cost: ")
    assert not any("0 trainings" in line or line.startswith("cost") for line in lines)


@pytest.mark.model
def test_trainings_that_spread_over_a_cluster_are_said_to(tmp_path: Path) -> None:
    own = config(tmp_path, {"split": False}, executor="ray")
    cell = Cell("a", own, "crowdselect", Setting())
    found = Found(Point(cell, Replicate(0, 0), own), Ref.to_compute("selection"), False)
    line, *_ = training_lines([found], Store(own.store))
    assert line.startswith("time       not known of 1 trainings on the Ray cluster, nor is")
