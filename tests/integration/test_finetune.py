"""`python -m flows.finetune`: selected, trained, killed, gone on; in a folder and in a bucket."""

import json
import os
import signal
import sys
import uuid
from pathlib import Path

import polars as pl
import pytest
import yaml
from command import Command, until
from finetuned import recipe, train_file
from servers import S3Server
from tinymodel import write_tiny

from flows import cli, console

pytest.importorskip("trl")
pytestmark = [pytest.mark.server, pytest.mark.model]

STEPS = 30  # 6 epochs of 5 steps


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny base model and rows to train on."""
    folder = tmp_path_factory.mktemp("finetune")
    write_tiny(folder / "tiny")
    train_file(folder / "train.jsonl")
    return folder


def config(place: Path, **keys: object) -> Path:
    """Write a config that trains on train.jsonl."""
    training = recipe(place / "tiny", num_train_epochs=6, train_file="train.jsonl") | keys
    path = place / f"{uuid.uuid4().hex}.yaml"
    path.write_text(yaml.safe_dump({"training": training}))
    return path


def test_killed_at_a_checkpoint_it_goes_on_with_the_same_losses(
    command: Command, place: Path
) -> None:
    here = command.of("finetune").with_models().within(place)
    calm = here.run("--config", config(place, save_steps=25), "--store", "calm", "--out", "c")
    assert f"step {STEPS}/{STEPS}  loss " in calm.ended(0).stderr
    store = place / "store"
    often = config(place, save_steps=1)
    with here.start("--config", often, "--store", "store", "--out", "k") as process:
        until(lambda: len(list(store.glob("checkpoint/*/manifest.json"))) > 1, process)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    assert not list(store.glob("model/*/manifest.json"))
    again = here.run("--config", config(place, save_steps=25), "--store", "store", "--out", "k")
    assert "goes on from step" in again.ended(0).stderr
    assert f"step 1/{STEPS}" not in again.stderr
    losses = [pl.read_parquet(place / out / "training.parquet") for out in ("c", "k")]
    assert losses[0].equals(losses[1])
    told = [json.loads((place / out / "training.json").read_text()) for out in ("c", "k")]
    assert told[0] == told[1]
    weights = [(place / out / "model" / "model.safetensors").read_bytes() for out in ("c", "k")]
    assert weights[0] == weights[1]

    cached = here.run("--config", often, "--store", "store", "--out", "k").ended(0)
    assert cached.stages("Cached") == ["finetune"]
    assert "  loss " not in cached.stderr


def test_a_selection_of_the_sample_is_trained_on_in_a_bucket(
    command: Command, place: Path, s3_server: S3Server
) -> None:
    root = f"s3://{s3_server.bucket}/{uuid.uuid4().hex}"
    path = place / "sample.yaml"
    training = recipe(place / "tiny", num_train_epochs=1, peft="lora", overflow="drop")
    sample = Path(__file__).parents[2] / "crowdselect_core" / "sample"
    keys = yaml.safe_load((sample / "config.yaml").read_text())
    keys |= {"dataset": str(sample / "zoo.parquet"), "budget": 6, "clusters": 2}
    path.write_text(yaml.safe_dump({**keys, "training": training}))
    here = command.of("finetune").with_models().within(place)
    to = ["--config", path, "--store", f"{root}/store", "--out", f"{root}/out"]
    dry = here.run(*to, "--dry-run", env=s3_server.environment()).ended(0).stdout
    assert "training   rows as selected, 3 steps" in dry
    assert "memory" in dry
    done = here.run(*to, env=s3_server.environment()).ended(0)
    assert "step 1/" in done.stderr
    fs = s3_server.file_system()
    names = {Path(n).name for n in fs.find(f"{root}/out")}
    assert {
        "adapter_model.safetensors",
        "training.json",
        "training.parquet",
        "train.jsonl",
    } <= names
    dry = here.run(*to, "--dry-run", env=s3_server.environment()).ended(0).stdout
    assert "model      Cached" in dry


def test_a_file_with_a_held_out_row_is_not_trained_on(command: Command, place: Path) -> None:
    rows = [json.loads(line) for line in (place / "train.jsonl").read_text().splitlines()]
    prompts = [row["messages"][0]["content"] for row in rows]
    write_rows(place / "data.jsonl", [{"instruction": text} for text in [*prompts[:3], "Other."]])
    held = place / "held.jsonl"
    write_rows(held, [{"prompt": prompts[1]}])
    path = place / "held-out.yaml"
    training = recipe(place / "tiny", num_train_epochs=1, train_file="train.jsonl")
    benchmark = {"kind": "command", "command": "true {model_dir}"}  # it needs no held-out row
    keys = {"dataset": "data.jsonl", "heldout": {"file": str(held)}, "training": training,
            "evaluation": {"benchmarks": [benchmark]}}  # fmt: skip
    path.write_text(yaml.safe_dump(keys))
    here = command.of("finetune").with_models().within(place)
    to = ["--config", path, "--store", "held", "--out", "h"]
    allowed = {"CROWDSELECT_ALLOW_COMMANDS": "1"}
    for run in (here, here.of("evaluate")):
        for more in (["--dry-run"], []):
            error = run.run(*to, *more, env=allowed).ended(2).error
            assert "rows hold a held-out prompt or a near-duplicate" in error
    assert not list((place / "held").glob("checkpoint/*"))
    write_rows(held, [{"prompt": "Nobody asks this."}])
    for more in (["--dry-run"], []):
        assert (
            "none of the 4 rows of data.jsonl is in the list" in here.run(*to, *more).ended(2).error
        )
    write_rows(held, [{"prompt": "Other."}])
    done = here.run(*to).ended(0)
    assert "step 1/" in done.stderr
    assert "no answers in the data set" not in done.stderr


def write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    """Write rows, a line each."""
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")


def test_a_trainer_of_the_users_own(command: Command, place: Path) -> None:
    script = place / "trainer.py"
    script.write_text(
        "import shutil, sys; shutil.copytree(sys.argv[1], sys.argv[2], dirs_exist_ok=True)"
    )
    training = {
        "base_model": str(place / "tiny"), "train_file": "train.jsonl",
        "command": f"{sys.executable} -S {script} {{base_model}} {{output_dir}}",
    }  # fmt: skip
    path = place / "command.yaml"
    path.write_text(yaml.safe_dump({"training": training}))
    here, to = (
        command.of("finetune").with_models().within(place),
        ["--store", "own", "--out", "own-out"],
    )
    allowed = {"CROWDSELECT_ALLOW_COMMANDS": "1"}
    dry = here.run("--config", path, *to, "--dry-run", env=allowed).ended(0).stdout
    assert "model      to train on 10 rows, by training.command" in dry
    done = here.run("--config", path, *to, env=allowed).ended(0)
    assert "by training.command, whole weights" in done.stdout
    weights = [place / folder / "model.safetensors" for folder in ("tiny", "own-out/model")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    again = here.run("--config", path, *to, env=allowed).ended(0)
    assert again.stages("Cached") == ["finetune"]


def test_the_pairs_of_a_selection_are_trained_on_and_merged(command: Command, place: Path) -> None:
    path = place / "pairs.yaml"
    training = recipe(
        place / "tiny", num_train_epochs=1, loss="dpo", peft="lora", merge=True, rate=10,
        price={"hour": 36}, max_length=250,
    )  # fmt: skip
    sample = Path(__file__).parents[2] / "crowdselect_core" / "sample"
    keys = yaml.safe_load((sample / "config.yaml").read_text())
    keys |= {"dataset": str(sample / "zoo.parquet"), "budget": 6, "clusters": 2}
    path.write_text(yaml.safe_dump({**keys, "export": ["llamafactory"], "training": training}))
    here = command.of("finetune").with_models().within(place)
    to = ["--config", path, "--store", "of-pairs", "--out", "p"]
    done = here.run(*to).ended(0)
    told = json.loads((place / "p" / "training.json").read_text())
    pairs = (place / "p" / "pairs.jsonl").read_text().splitlines()
    assert told["rows"] == len(pairs) > 1
    assert f"finetune      {told['rows']} pairs, {told['tokens']:,} tokens" in done.stderr
    assert (told["merged"], told["recipe"]["loss"], told["recipe"]["beta"]) == (True, "dpo", 0.1)
    assert (place / "p" / "model" / "model.safetensors").exists()
    assert yaml.safe_load((place / "p" / "train.yaml").read_text())["pref_loss"] == "sigmoid"
    cached = here.run(*to).ended(0)
    assert {"finetune", "merge-model", "pairs"} <= set(cached.stages("Cached"))

    again = path.with_name("again.yaml")  # another recipe: what would it take?
    training |= {"num_train_epochs": 2, "seed": 1}
    again.write_text(yaml.safe_dump({**keys, "training": training}))
    dry = here.run("--config", again, *to[2:], "--dry-run").ended(0).stdout
    hours = told["tokens"] * 2 / 10 / 3600
    assert f"time       {hours:,.2f} hours at 10 tokens/s (training.rate)" in dry
    assert f"cost       {hours * 36:,.2f} at 36 an hour" in dry
    again.write_text(yaml.safe_dump({**keys, "training": training | {"rate": None}}))
    dry = here.run("--config", again, *to[2:], "--dry-run").ended(0).stdout
    assert "tokens/s (measured in an earlier training)" in dry


@pytest.mark.parametrize(
    ("training", "expected"),
    [
        (None, "training is missing"),
        ({"base_model": "./absent"}, "does not exist"),
        ({"base_model": "x", "loss": "kto"}, "training.loss"),
        ({"base_model": "x", "loss": "dpo", "beta": -1}, "training.beta"),
        ({"base_model": "tiny", "args": {"weight_decy": 0}}, "no such argument"),
        ({"base_model": "tiny", "report_to": "wandb"}, "wandb is not installed"),
        ({"base_model": "tiny", "push_to": "org/name"}, "HF_TOKEN"),
        ({"base_model": "x", "num_processes": 3}, "num_processes 3: change one"),
        ({"base_model": "x", "command": "train {out}"}, "unknown placeholder {out}"),
        ({"base_model": "x", "command": "train --token=hf_x:y@z"}, "looks like a credential"),
        ({"base_model": "x", "command": "true {output_dir}"}, "set CROWDSELECT_ALLOW_COMMANDS=1"),
        ({"base_model": "x", "global_batch_size": 3, "per_device_train_batch_size": 2}, "multiple"),
        ({"base_model": "sample:other"}, "expected sample:smollm2"),
    ],
)
def test_what_can_be_mended_is_said_in_one_line(
    place: Path,
    training: object,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In this process: a command for each would import torch and trl each time."""
    path = place / f"{uuid.uuid4().hex}.yaml"
    path.write_text(yaml.safe_dump({
        "dataset": "unread.jsonl", "reward_models": ["unread"], "training": training,
    }))  # fmt: skip
    monkeypatch.chdir(place)
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    monkeypatch.setattr(console, "plain_warnings", lambda: None)  # it would stay for other tests
    assert cli.main(["--config", str(path), "--dry-run"], "finetune") == cli.MENDABLE
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert expected in line
