"""The primary comparison is held against the grid before anything is computed."""

from typing import Any

import pytest

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import ConfigError
from crowdselect_core.experiment.grid import grid
from crowdselect_core.experiment.pairing import Primary
from crowdselect_core.experiment.primary import check_primary, primary_of

CROWD = [
    {"name": f"{family}-{size}", "family": family, "size": size}
    for family in ("ant", "bee")
    for size in (1, 2)
]
TRAINED = {
    "training": {"base_model": "base", "num_train_epochs": 1},
    "evaluation": {
        "benchmarks": [
            {"kind": "heldout-loss"},
            {"kind": "heldout-loss", "name": "second"},
        ]
    },
}


def config_of(primary: dict[str, Any], *, train: bool = True, **experiment: Any) -> SelectConfig:
    told: dict[str, Any] = {
        "dataset": "zoo.parquet", "crowd": CROWD, "reward_models": ["r"],
        "heldout": {"share": 0.25},
        "experiment": {
            "methods": ["crowdselect", "random"], "clusters": [0, 10], "budgets": [5, 20],
            "train": train, "controls": False, "primary": primary, **experiment,
        },
        **(TRAINED if train else {}),
    }  # fmt: skip
    return SelectConfig.model_validate(told).resolved()


def check(config: SelectConfig) -> None:
    check_primary(config, grid(config, 1_000).cells)


@pytest.mark.parametrize(
    "primary",
    [
        {},
        {"clusters": 10, "budget": 20},
        {"benchmark": "second"},
        {"metric": "reward", "benchmark": "choice"},
        {"method": "random", "baseline": "crowdselect"},
    ],
)
def test_one_that_two_cells_fit_is_taken(primary: dict[str, Any]) -> None:
    check(config_of(primary))


@pytest.mark.parametrize(
    ("primary", "words"),
    [
        ({"method": "crowdselekt"}, "primary.method: .*'crowdselekt', did you mean 'crowdselect'"),
        ({"baseline": "reward"}, r"primary.baseline: .*'reward'.* \(there are crowdselect, random"),
        ({"clusters": 99}, "no two cells are crowdselect and random with 99 clusters"),
        ({"budget": 7}, "with 0 clusters, budget 7 and the same"),
        ({"baseline": "crowdselect"}, "no two cells are crowdselect and crowdselect"),
        ({"metric": "loss_per_rwo"}, "'loss_per_rwo' is no metric .*, did you mean 'loss_per_row'"),
        ({"metric": "win_rate"}, "'win_rate' is no metric of the benchmarks here"),
        ({"metric": "loss (a judge)"}, "is a metric of no result, expected 'loss'"),
        ({"metric": "rows", "benchmark": "second"}, "'rows' is no metric of the benchmarks here"),
        ({"benchmark": "third"}, r"no benchmark is named 'third' \(there are heldout-loss, second"),
    ],
)
def test_one_that_no_result_can_make_is_refused(primary: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check(config_of(primary))


def test_two_cells_of_other_trainings_are_no_pair() -> None:
    cells = [
        {"methods": ["crowdselect"], "trainings": [{}]},
        {"methods": ["random"], "trainings": [{"base_model": "other"}]},
    ]
    with pytest.raises(ConfigError, match="and the same training and response"):
        check(config_of({}, cells=cells))


def test_without_training_a_metric_of_the_choice_counts_and_others_are_left_out() -> None:
    config = config_of({"metric": "reward"}, train=False)
    check(config)
    assert primary_of(config) == Primary("crowdselect", "random", 0, "reward")
    later = config_of({"metric": "loss_per_row"}, train=False)
    check(later)
    assert primary_of(later) is None
    with pytest.raises(ConfigError, match="'rewards' is no metric"):
        check(config_of({"metric": "rewards"}, train=False))


def test_of_two_judges_one_is_named_with_the_metric() -> None:
    endpoint = {"kind": "openai", "base_url": "http://127.0.0.1:1/v1", "model": "m"}
    judges = [{"name": name, "engine": endpoint} for name in ("a", "b")]
    benchmarks = [{"kind": "pairwise", "path": "prompts.jsonl"}]
    told = config_of({"metric": "win_rate (b)"}).model_dump(exclude_unset=True)
    told["evaluation"] = {"benchmarks": benchmarks, "judges": judges}
    check(SelectConfig.model_validate(told).resolved())
    told["experiment"]["primary"] = {"metric": "win_rate"}
    with pytest.raises(ConfigError, match=r"expected 'win_rate \(a\)' or 'win_rate \(b\)'"):
        check(SelectConfig.model_validate(told).resolved())
