"""The preflight looks at every model that any cell of a grid runs or asks."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from zoos import write_zoo

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import ConfigError
from crowdselect_core.experiment.grid import grid
from crowdselect_core.planning.experiment_grid import experiment_grid
from crowdselect_core.planning.experiment_models import Local, asked_models, local_models

ENDPOINT = {"kind": "openai", "base_url": "http://127.0.0.1:1/v1", "model": "m"}
VLLM = {"kind": "vllm", "model": "org/judge"}
EMBEDDER = {"kind": "sentence-transformers", "model": "org/embedder"}


def config_of(folder: Path, experiment: dict[str, Any], **keys: Any) -> SelectConfig:
    zoo = write_zoo(folder / "zoo", 40)
    told = {
        "dataset": str(zoo.path), "crowd": str(zoo.crowd), "store": str(folder / "store"),
        "experiment": {"clusters": [0], "budgets": [5], "controls": False, **experiment}, **keys,
    }  # fmt: skip
    return SelectConfig.model_validate(told).resolved()


def test_models_of_methods_evaluations_and_benchmarks(tmp_path: Path) -> None:
    evaluation = {
        "models": ["org/anchor", {"name": "hosted", "engine": ENDPOINT}],
        "judges": [{"name": "asked", "engine": ENDPOINT}, {"name": "served", "engine": VLLM}],
        "benchmarks": [
            {"kind": "pairwise", "path": "prompts.jsonl"},
            {
                "kind": "reward-win-rate",
                "reward_model": {"name": "other", "kind": "classifier", "model": "org/reward"},
            },
        ],
    }
    methods = [
        {"method": "ifd", "ifd": {"model": "org/ifd"}},
        {"method": "instag", "instag": {"engine": ENDPOINT}},
        {"method": "random", "clusters": 3, "embedder": EMBEDDER},
    ]
    config = config_of(
        tmp_path, {"methods": methods}, evaluation=evaluation, training={"base_model": "org/base"}
    )
    cells = grid(config, 32).cells
    assert local_models(config, cells) == [
        Local("org/base", None, "base model"),
        Local("org/ifd", None, "model of the method ifd"),
        Local("org/anchor", None, "evaluated model"),
        Local("org/judge", None, "judge"),
        Local("org/reward", None, "reward model"),
        Local("org/embedder", None, "embedder"),
    ]
    asked = asked_models(config, cells, str)
    assert [one.name for one in asked] == ["judge asked", "model of the method instag"]
    for one in asked:
        with pytest.raises(ConfigError, match="does not answer"):
            one.check()


def test_crowd_and_graders_are_asked_where_answers_are_missing(tmp_path: Path) -> None:
    pl.DataFrame({"id": ["0"], "instruction": ["One."]}).write_parquet(tmp_path / "data.parquet")
    crowd = [
        {"name": n, "family": "f", "size": 1, "engine": {**ENDPOINT, "model": n}}
        for n in ("a", "b")
    ]
    grader = {"name": "g", "kind": "judge", "engine": ENDPOINT}
    config = config_of(
        tmp_path, {"methods": ["difficulty"], "train": False},
        dataset=str(tmp_path / "data.parquet"), crowd=crowd, reward_models=[grader],
    )  # fmt: skip
    names = [one.name for one in asked_models(config, grid(config, 1).cells, str)]
    assert names == ["crowd model a", "crowd model b", "reward model g"]


@pytest.mark.parametrize(
    ("experiment", "words"),
    [
        ({"budgets": [5, 41]}, r"difficulty k=0 n=41 is to choose 41 rows, and .* about 32 of 40"),
        (
            {"budgets": [5], "clusters": [41]},
            "k=41 n=5: clusters: 41 requested, but there are 40 "
            "rows: set experiment.clusters to 40 or less",
        ),
        ({"budgets": [5], "replicate": {"subsample": 0.01}}, "is to choose 5 rows, and .* about 0"),
        ({"advisor": {"prices": {"nope": 1}}}, "advisor.prices: 'nope' is neither a crowd model"),
        ({"advisor": {"prices": {"ant-1b": 1}}}, "advisor.prices: no price of .*bee-7b, reward"),
        ({"primary": {"method": "crowdselect"}}, "primary.method: no cell has the method"),
        ({"replicate": {"split": True}}, "replicate.split: .* without the key heldout none are"),
    ],
)
def test_what_cannot_be_is_refused_before_the_first_cell(
    tmp_path: Path, experiment: dict[str, Any], words: str
) -> None:
    config = config_of(tmp_path, {"methods": ["difficulty"], "train": False, **experiment})
    with pytest.raises(ConfigError, match=words):
        experiment_grid(config)


def test_few_rows_are_allowed_where_the_config_allows_them(tmp_path: Path) -> None:
    wanted = {"methods": ["difficulty"], "train": False, "budgets": [41]}
    config = config_of(tmp_path, wanted, allow_short=True)
    assert [cell.name for cell in experiment_grid(config).cells] == ["difficulty k=0 n=41"]
