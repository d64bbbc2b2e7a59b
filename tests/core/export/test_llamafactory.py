"""--export llamafactory: train.yaml of the recipe, beside the data that it names."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from chain import choose
from little import KEYS, jsonl, row

from crowdselect_core.config.load import load
from crowdselect_core.errors import ConfigError
from crowdselect_core.export.llamafactory import template
from crowdselect_core.export.selection_files import names_of
from crowdselect_core.planning import preflight

TABLE = [row(0, [1, 2, 3, 4]), row(1, [5, 1, 3, 2]), row(2, [0.5, 0, 0.25, 0])]
ALL = KEYS | {"budget": 1.0, "weights": "1,0,0", "export": "llamafactory"}


def recipe_of(folder: Path, **training: Any) -> tuple[dict[str, Any], Path]:
    keys = {"base_model": "Qwen/Qwen2.5-3B-Instruct", "per_device_train_batch_size": 2, **training}
    path = jsonl(folder / "z.jsonl", TABLE)
    chosen = choose(folder, dataset=str(path), training=keys, **ALL)
    text = (chosen.out / "train.yaml").read_text()
    assert "CHECK `template`" in text
    assert "train.yaml" in chosen.manifest["files"]
    return yaml.safe_load(text), chosen.out


def test_sft_with_lora(tmp_path: Path) -> None:
    recipe, out = recipe_of(tmp_path, peft="lora", train_on="last", warmup_steps=20, revision="v1")
    assert {k: recipe[k] for k in (
        "model_name_or_path", "model_revision", "stage", "finetuning_type", "lora_rank",
        "lora_alpha", "lora_dropout", "lora_target", "template", "cutoff_len", "learning_rate",
        "per_device_train_batch_size", "gradient_accumulation_steps", "warmup_steps",
        "mask_history", "num_train_epochs", "seed",
    )} == {
        "model_name_or_path": "Qwen/Qwen2.5-3B-Instruct", "model_revision": "v1", "stage": "sft",
        "finetuning_type": "lora", "lora_rank": 16, "lora_alpha": 32, "lora_dropout": 0.05,
        "lora_target": "all", "template": "qwen", "cutoff_len": 2048, "learning_rate": 1e-4,
        "per_device_train_batch_size": 2, "gradient_accumulation_steps": 8, "warmup_steps": 20,
        "mask_history": True, "num_train_epochs": 3.0, "seed": 0,
    }  # fmt: skip
    assert "warmup_ratio" not in recipe
    entry = json.loads((out / "dataset_info.json").read_text())[recipe["dataset"]]
    assert (out / recipe["dataset_dir"] / entry["file_name"]).stat().st_size > 0
    assert not (out / "pairs.jsonl").exists()


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("dpo", {"pref_loss": "sigmoid", "pref_beta": 0.1, "learning_rate": 5e-7}),
        ("simpo", {"pref_loss": "simpo", "pref_beta": 2.5, "simpo_gamma": 1.375}),
        ("orpo", {"pref_loss": "orpo", "pref_beta": 0.1, "warmup_ratio": 0.1}),
    ],
)
def test_preferences_are_trained_on_the_pairs_that_are_written(
    tmp_path: Path, loss: str, expected: dict[str, Any]
) -> None:
    recipe, out = recipe_of(tmp_path, loss=loss)
    wanted = {"stage": "dpo", "finetuning_type": "full", **expected}
    assert {name: recipe[name] for name in wanted} == wanted
    entry = json.loads((out / "dataset_info.json").read_text())[recipe["dataset"]]
    assert entry["ranking"] is True
    assert (out / entry["file_name"]).stat().st_size > 0


@pytest.mark.parametrize("loss", ["sft", "dpo"])
def test_pairs_of_one_model_are_refused_before_the_work(tmp_path: Path, loss: str) -> None:
    training = {"base_model": "x", "loss": loss}
    keys = ALL | {"dataset": str(tmp_path), "response": "ant-1b", "training": training}
    config = load(None, keys, {}).resolved()
    assert len(config.models) > 1
    alone = config.model_copy(update={"export": []})
    preflight.check(alone)
    if loss == "sft":
        preflight.check(config, trains=True)
        return
    for refused, trains in ((config, False), (alone, True)):
        with pytest.raises(ConfigError, match=r"training\.loss dpo: response 'ant-1b'"):
            preflight.check(refused, trains)


def test_the_pairs_of_a_recipe_replace_no_file_of_others(tmp_path: Path) -> None:
    def names(**training: Any) -> list[str]:
        keys = ALL | {"dataset": str(tmp_path), "training": {"base_model": "x", **training}}
        return names_of(load(None, keys, {}))

    assert "pairs.jsonl" not in names()
    assert {"pairs.jsonl", "train.yaml", "dataset_info.json"} <= set(names(loss="dpo"))


def test_without_a_recipe_it_is_refused(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "z.jsonl", TABLE)
    with pytest.raises(ConfigError, match="add training: "):
        choose(tmp_path, dataset=str(path), **ALL)


def test_another_recipe_is_written_anew(tmp_path: Path) -> None:
    first, out = recipe_of(tmp_path, seed=1)
    second, same = recipe_of(tmp_path, seed=2)
    assert out == same
    assert (first["seed"], second["seed"]) == (1, 2)


@pytest.mark.parametrize(
    ("base_model", "expected"),
    [
        ("meta-llama/Llama-3.2-1B-Instruct", "llama3"),
        ("Qwen/Qwen3-8B", "qwen3"),
        ("models/own", "default"),
    ],
)
def test_the_template_is_a_guess(base_model: str, expected: str) -> None:
    assert template(base_model) == expected
