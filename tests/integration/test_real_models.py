"""From an instruction file to a training set with real models only, killed twice on the way."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from command import ROOT, Command, until

from crowdselect_core.sample.variants import find_gguf, load_model, load_tokenizer, write_variants

pytestmark = pytest.mark.model

ROWS = 6
BITS = (8, 3)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2, and its roundings to 8 and 3 bits."""
    import torch

    folder = tmp_path_factory.mktemp("models")
    gguf = find_gguf()
    write_variants(load_model(gguf, torch.bfloat16), load_tokenizer(gguf), folder, [None, *BITS])
    return folder


def example(models: Path) -> dict[str, object]:
    """Return the example for two cores, with two of its crowd, short answers and in float32."""
    config = yaml.safe_load((ROOT / "examples/cpu.yaml").read_text())
    kept = [m for m in config["crowd"] if m["size"] in BITS and "greedy" in m["name"]]
    for model in kept:
        model["engine"]["model"] = str(models / Path(model["engine"]["model"]).name)
        model["engine"]["dtype"] = "float32"
        model["sampling"] |= {"max_tokens": 32}  # fewer: no answer comes to its end
    config["reward_models"][0]["model"] = str(models / "smollm2")
    path = str(ROOT / config["dataset"]["path"])
    return config | {
        "crowd": kept, "dataset": config["dataset"] | {"path": path}, "limit": ROWS, "budget": 2,
        "clusters": 2, "response": "random", "store": "store", "out": "out",
    }  # fmt: skip


def cells(store: Path, stage: str, column: str) -> dict[tuple[str, bytes], Any]:
    """Return every committed answer or score by its model's folder and its key."""
    found: dict[tuple[str, bytes], Any] = {}
    for path in store.glob(f"{stage}/*/cells-*.parquet"):
        try:
            rows = pl.read_parquet(path, columns=["key", column])
        except FileNotFoundError:
            continue  # merged meanwhile
        found |= {(path.parent.name, key): value for key, value in rows.iter_rows()}
    return found


def answers(store: Path) -> dict[tuple[str, bytes], str]:
    """Return the committed answers."""
    return cells(store, "generated", "text")


def scores(store: Path) -> dict[tuple[str, bytes], list[float]]:
    """Return the committed scores."""
    return cells(store, "scored", "scores")


def rows_of(store: Path, stage: str) -> list[list[str]]:
    """Return the instruction ids of every finished table of a stage."""
    finished = [path.parent for path in store.glob(f"{stage}/*/manifest.json")]
    return [pl.read_parquet(f / "part-*.parquet")["instruction_id"].to_list() for f in finished]


def test_an_instruction_file_becomes_a_training_set(
    command: Command, models: Path, tmp_path: Path
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(example(models)))
    run, store = command.with_models().within(tmp_path), tmp_path / "store"
    kept: dict[tuple[str, bytes], str] = {}
    for seen in (lambda: len(answers(store)) >= ROWS, lambda: len(scores(store)) >= ROWS):
        with run.start("--config", config, "--allow-short") as process:
            until(seen, process)
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        there = answers(store)
        assert {key: there[key] for key in kept} == kept
        kept = there
    assert len(kept) == ROWS * len(BITS)  # all were made before the second kill
    scored = scores(store)
    assert len(scored) >= ROWS
    result = run.run("--config", config, "--allow-short").ended(0)
    assert answers(store) == kept
    now = scores(store)
    assert {key: now[key] for key in scored} == scored  # to the bit
    for stage in ("responses", "rewards"):  # every row once, of every model
        tables = rows_of(store, stage)
        assert len(tables) == len(BITS)
        assert all(len(set(rows)) == len(rows) == ROWS for rows in tables)
    assert result.stages("asked") == ["rewards"] * len(result.stages("asked"))
    ranking = pl.read_parquet(tmp_path / "out/ranking.parquet")
    assert ranking.height == ranking["instruction_id"].n_unique() == ROWS
    assert ranking["difficulty"].null_count() == 0
    train = (tmp_path / "out/train.jsonl").read_text().splitlines()
    said = set(kept.values())
    assert train
    assert all(json.loads(line)["messages"][1]["content"] in said for line in train)


@pytest.mark.parametrize(("loss", "peft"), [("sft", None), ("sft", "lora"), ("dpo", "lora")])
def test_smollm2_is_trained_a_few_steps(
    models: Path, tmp_path: Path, loss: str, peft: str | None
) -> None:
    pytest.importorskip("trl")
    from crowdselect_core.config.finetune import TrainingConfig
    from crowdselect_core.finetune.base_model import base_model
    from crowdselect_core.finetune.data import rows_of
    from crowdselect_core.finetune.training import prepare, train
    from crowdselect_core.store.artifacts import Store

    rows = [("Name a fruit.", "A plum.", "No."), ("Name a bird.", "A wren.", "Why should I?")]
    lines = [
        {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": good}]}
        if loss == "sft"
        else {"prompt": q, "chosen": good, "rejected": bad}
        for q, good, bad in rows
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(json.dumps(line) for line in lines))
    recipe = TrainingConfig.model_validate({
        "base_model": str(models / "smollm2"), "train_file": str(file), "loss": loss,
        "peft": peft and {"lora_dropout": 0.0},
        "learning_rate": 2e-4 if peft else 2e-5, "warmup_steps": 0, "global_batch_size": 2,
        "num_train_epochs": 2,
        "lr_scheduler_type": "constant", "per_device_train_batch_size": 2,
    })  # fmt: skip
    job = prepare(recipe, base_model(recipe), rows_of(recipe, None), gpu=False)
    losses: list[float] = []
    made = train(job, Store(str(tmp_path / "store")), lambda step: losses.append(step.loss))
    # every step sees both rows; before the first, DPO's policy is its reference: log 2
    first, second = losses
    assert first > second
    if loss == "dpo":
        assert first == pytest.approx(0.6931, abs=1e-4)
    told = made.manifest.facts["training"]
    assert (told["rows"], told["steps"]) == (2, 2)
    weights = "adapter_model.safetensors" if peft else "model.safetensors"
    assert f"model/{weights}" in made.manifest.facts["files"]
