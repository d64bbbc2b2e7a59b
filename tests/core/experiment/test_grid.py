"""The grid: what its lists come to, which controls stand beside it, what a replicate is."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from crowdselect_core.config.load import load
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import ConfigError, UserError
from crowdselect_core.experiment.cells import Replicate, identity, in_replicate
from crowdselect_core.experiment.grid import Grid, grid, points
from crowdselect_core.experiment.settings import required

ROOT = Path(__file__).parents[3]
CROWD = [
    {"name": f"{family}-{size}", "family": family, "size": size}
    for family in ("ant", "bee")
    for size in (1, 2)
]
TRAINING = {"base_model": "base", "num_train_epochs": 1}
EVALUATION = {"benchmarks": [{"kind": "heldout-loss"}]}


def config_of(experiment: dict[str, Any], **keys: Any) -> SelectConfig:
    told = {
        "dataset": "zoo.parquet", "crowd": CROWD, "reward_models": ["r", "s"],
        "heldout": {"share": 0.25}, "experiment": experiment, **keys,
    }  # fmt: skip
    return SelectConfig.model_validate(told).resolved()


def names(experiment: dict[str, Any], pool_rows: int = 10_000, **keys: Any) -> list[str]:
    return [cell.name for cell in grid(config_of(experiment, **keys), pool_rows).cells]


ALONE = {"train": False, "controls": False}


def test_the_product_of_the_lists() -> None:
    found = names({
        **ALONE, "methods": ["crowdselect", "random"], "clusters": [0, 10], "budgets": [5, 0.1],
        "weights": [[1, 1, 2], [1, -1, 1]], "responses": ["best"],
    })  # fmt: skip
    assert found == [
        "crowdselect k=0 n=5", "crowdselect k=0 n=5 w=1,-1,1",
        "crowdselect k=0 n=10%", "crowdselect k=0 n=10% w=1,-1,1",
        "crowdselect k=10 n=5", "crowdselect k=10 n=5 w=1,-1,1",
        "crowdselect k=10 n=10%", "crowdselect k=10 n=10% w=1,-1,1",
        "random k=0 n=5", "random k=0 n=10%", "random k=10 n=5", "random k=10 n=10%",
    ]  # fmt: skip


def test_partial_grids_take_the_place_of_the_product() -> None:
    found = names({
        **ALONE, "methods": ["crowdselect"], "clusters": [3], "budgets": [5],
        "cells": [{"methods": ["difficulty"], "budgets": [1, 2]}, {"clusters": [0]}],
    })  # fmt: skip
    assert found == ["difficulty k=3 n=1", "difficulty k=3 n=2", "crowdselect k=0 n=5"]


def test_a_mapping_is_config_keys_and_may_have_a_name() -> None:
    whole = config_of({
        **ALONE, "clusters": [0], "budgets": [5],
        "methods": [
            {"method": "length", "length": {"of": "response"}},
            {"method": "difficulty", "direction": "bottom"},
            {"method": "random", "response": "random", "name": "paper"},
        ],
    })  # fmt: skip
    cells = grid(whole, 100).cells
    assert [cell.name for cell in cells] == [
        "length length.of=response k=0 n=5",
        "difficulty-bottom k=0 n=5",
        "paper k=0 n=5 response=random",
    ]
    assert cells[0].config.length.of == "response"
    assert cells[1].facts["direction"] == "bottom"
    assert cells[2].facts["response"] == "random"


def test_parts_of_the_crowd_and_of_the_reward_models() -> None:
    whole = config_of({
        **ALONE, "methods": ["difficulty"], "clusters": [0], "budgets": [5],
        "crowds": ["all", "leave-one-family-out", {"name": "small", "models": ["ant-1", "bee-1"]}],
        "reward_models": [["r"]],
    })  # fmt: skip
    cells = grid(whole, 100).cells
    assert [cell.name for cell in cells] == [
        "difficulty k=0 n=5 rewards=r",
        "difficulty k=0 n=5 rewards=r crowd=without-ant",
        "difficulty k=0 n=5 rewards=r crowd=without-bee",
        "difficulty k=0 n=5 rewards=r crowd=small",
    ]
    assert [m.name for m in cells[1].config.models] == ["bee-1", "bee-2"]
    assert [m.name for m in cells[3].config.models] == ["ant-1", "bee-1"]
    assert {cell.facts["reward_models"] for cell in cells} == {"r"}


def test_the_fair_controls_stand_beside_every_group() -> None:
    found = grid(
        config_of({"train": False, "methods": ["difficulty"], "clusters": [4], "budgets": [5, 6]}),
        10_000,
    )
    added = {cell.name: cell.control for cell in found.cells if cell.control}
    assert added == {
        **{f"random k=0 n={n}": "random" for n in (5, 6)},
        **{f"random k=4 n={n}": "random-clusters" for n in (5, 6)},
        **{f"random k=0 n={n} response=random": "paper-random" for n in (5, 6)},
        **{f"reward k=0 n={n}": "reward" for n in (5, 6)},
        **{f"longest-answer k=0 n={n}": "length" for n in (5, 6)},
    }
    assert [one.note for one in found.left_out] == [
        "control teacher: left out, no model is named by teacher.model",
        "control full-pool: left out, the pool has about 10,000 rows, more than "
        "experiment.full_pool_rows 5,000",
        "control untuned: left out, nothing is trained",
    ]
    by_name = {cell.name: cell for cell in found.cells}
    assert by_name["random k=4 n=5"].config.response_mode == "best"
    assert by_name["longest-answer k=0 n=5"].config.length.of == "response"


def test_a_teacher_the_untuned_model_and_the_full_pool() -> None:
    found = grid(
        config_of(
            {"methods": ["difficulty"], "clusters": [4], "budgets": [5]},
            teacher={"model": "bee-2"}, training=TRAINING, evaluation=EVALUATION,
        ),
        100,
    )  # fmt: skip
    assert not found.left_out
    added = {cell.control: cell for cell in found.cells if cell.control}
    assert added["teacher"].config.response_mode == "bee-2"
    assert added["full-pool"].config.budget == 1.0
    assert added["full-pool"].name == "full-pool k=0 n=100%"
    assert not added["untuned"].chooses
    assert added["untuned"].facts | {"base_model": None} == {
        **dict.fromkeys(added["untuned"].facts), "cell": "untuned base", "method": "untuned",
    }  # fmt: skip


def test_a_control_that_is_a_cell_already_stands_once() -> None:
    experiment = {
        "train": False, "methods": ["difficulty", "random"], "clusters": [4], "budgets": [5],
        "controls": ["random", "random-clusters"],
    }  # fmt: skip
    found = names(experiment)
    assert found == ["difficulty k=4 n=5", "random k=4 n=5", "random k=0 n=5"]


def test_controls_that_are_left_out_are_told() -> None:
    experiment = {"train": False, "methods": ["difficulty"], "controls": ["random"]}
    found = grid(config_of(experiment), 10)
    assert [one.note for one in found.left_out] == [
        "controls random-clusters, paper-random, reward, length, teacher, untuned, full-pool: left "
        "out, not asked for by experiment.controls"
    ]


def test_trainings_are_mappings_over_the_training() -> None:
    experiment = {
        "methods": ["difficulty"], "clusters": [0], "budgets": [5], "controls": False,
        "trainings": [{}, {"loss": "dpo", "peft": {"r": 4}}, {"base_model": "other", "name": "o"}],
    }  # fmt: skip
    whole = config_of(experiment, training=TRAINING, evaluation=EVALUATION)
    cells = grid(whole, 100).cells
    assert [cell.name for cell in cells] == [
        "difficulty k=0 n=5",
        "difficulty k=0 n=5 loss=dpo,peft.r=4",
        "difficulty k=0 n=5 o",
    ]
    facts = [(c.facts["base_model"], c.facts["loss"], c.facts["peft"]) for c in cells]
    assert facts == [("base", "sft", "full"), ("base", "dpo", "lora"), ("other", "sft", "full")]
    assert {c.config.training.num_train_epochs for c in cells if c.config.training} == {1}


def test_a_replicate_draws_its_own_split_subsample_and_seeds() -> None:
    whole = config_of(
        {"methods": ["difficulty"], "seeds": [7, 9], "replicate": {"subsample": 0.5}},
        training=TRAINING, evaluation=EVALUATION,
    )  # fmt: skip
    cell = grid(whole, 100).cells[0]
    one = in_replicate(cell, Replicate(1, 9), required(whole))
    assert (one.seed, one.training and one.training.seed) == (9, 9)
    assert one.heldout is not None
    assert (one.heldout.share, one.heldout.seed) == (0.25, None)
    assert one.subsample is not None
    assert (one.subsample.share, one.subsample.seed) == (0.5, None)
    assert one.experiment is None
    assert one.out.endswith("/1")


def test_without_a_split_of_their_own_replicates_hold_out_the_rows_of_the_runs_seed() -> None:
    replicate = {"split": False, "subsample": None}
    whole = config_of({**ALONE, "methods": ["difficulty"], "replicate": replicate}, seed=3)
    one = in_replicate(grid(whole, 100).cells[0], Replicate(2, 5), required(whole))
    assert one.heldout is not None
    assert one.heldout.seed == 3
    assert (one.seed, one.subsample) == (5, None)


def test_a_cell_is_the_config_with_its_keys_replaced_and_nothing_else() -> None:
    whole = config_of({**ALONE, "methods": ["difficulty"], "clusters": [4], "budgets": [5]})
    cell = grid(whole, 100).cells[0]
    own = whole.model_copy(
        update={"method": "difficulty", "clusters": 4, "budget": 5, "response": "best"}
    )
    assert identity(cell.config) == identity(own)


def test_all_cells_of_a_replicate_come_together() -> None:
    whole = config_of({**ALONE, "methods": ["difficulty", "reward"], "seeds": [1, 2]})
    found: Grid = grid(whole, 100)
    order = [(p.replicate.number, p.cell.config.method) for p in points(whole, found)]
    assert order == [(0, "difficulty"), (0, "reward"), (1, "difficulty"), (1, "reward")]


@pytest.mark.parametrize(
    ("experiment", "words"),
    [
        ({}, "training is missing, and a model is trained on every choice"),
        ({**ALONE, "methods": [{"method": "difficulty", "budgit": 3}]}, "budgit"),
        ({**ALONE, "methods": ["difficult"]}, "difficult"),
        ({**ALONE, "crowds": [{"name": "x", "families": ["cat"]}]}, "'cat' is not of the crowd"),
        ({**ALONE, "reward_models": [["t"]]}, "'t' is not among the reward models"),
        (
            {**ALONE, "methods": [{"method": "difficulty", "name": "a"},
                                  {"method": "reward", "name": "a"}]},
            "two cells have the name 'a k=10 n=1000'",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_line(experiment: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        grid(config_of(experiment), 100)


def test_what_a_section_cannot_hold() -> None:
    for experiment, words in (
        ({"seeds": [1, 1]}, "1 stands twice"),
        ({"methods": [{"direction": "top"}]}, "has no key method"),
        ({"crowds": [{"name": "x"}]}, "exactly one of models, families and without"),
    ):
        with pytest.raises((ConfigError, ValueError), match=words):
            config_of({**ALONE, **experiment})


# Cells that choose, and untuned models. The controls of each group of cells that keep the same
# answer and share a training: random, clustered random, top reward, where the grid lacks them.
TABLES = {
    "table1": (3 + 3 * 3, 1),  # three response rules
    "table2": (4 * (9 + 3), 4),
    "table4": (12 + 2, 1),
    "table7": (7 * (1 + 3), 1),
    "table13": (4 * (7 + 2), 4),
    "table14": (9 + 3, 1),
    "table15": (9 + 3, 1),
    "table16": (9 + 3, 1),
    "table17": (9 + 3, 1),
    "table18": (4 * (4 + 2), 1),
    "table19": (3 * (4 + 2), 1),
}


@pytest.mark.parametrize("name", TABLES)
def test_the_tables_of_the_paper_are_grids(name: str) -> None:
    file = ROOT / "examples" / "paper" / f"{name}.yaml"
    whole = load(str(file), {}, environ={}, flow="experiment")
    found = grid(whole, 100_000)
    untuned = [cell for cell in found.cells if not cell.chooses]
    assert (len(found.choosing), len(untuned)) == TABLES[name]
    assert [replicate.seed for replicate in found.replicates] == [0, 1, 2]


def test_the_example_for_two_cores() -> None:
    file = ROOT / "examples" / "experiment-cpu.yaml"
    whole = load(str(file), {"dataset": "zoo.parquet"}, environ={}, flow="experiment")
    found = grid(whole, 505)
    assert [cell.name for cell in found.cells] == [
        "crowdselect k=10 n=64", "reward k=10 n=64", "random k=10 n=64", "random k=0 n=64",
        "untuned sample:smollm2",
    ]  # fmt: skip
    assert len(found.replicates) == 10
    told = yaml.safe_load(file.read_text("utf-8"))
    assert not any("llama-3.1" in m["family"] for m in told["crowd"])


@pytest.mark.parametrize("key", ["seed", "subsample", "heldout", "out", "store", "training"])
def test_what_a_replicate_or_the_experiment_sets_is_no_key_of_a_method(key: str) -> None:
    with pytest.raises(ValueError, match=f"methods: {key} is the experiment's own"):
        config_of({**ALONE, "methods": [{"method": "random", key: {}}]})


def test_one_row_and_all_rows_are_no_two_budgets_of_one_grid() -> None:
    with pytest.raises(ValueError, match=r"1 is one row, and 1\.0 all of them"):
        config_of({**ALONE, "budgets": [1, 1.0]})
