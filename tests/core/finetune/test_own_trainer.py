"""Your own trainer: what the command gets, and which of its files are a model."""

import json
import logging
import shlex
import sys
from pathlib import Path

import pytest
import yaml
from finetuned import conversation, train_file
from pydantic import ValidationError

from crowdselect_core.config.finetune import TrainingConfig
from crowdselect_core.errors import ConfigError, Stopped
from crowdselect_core.export import trained_model
from crowdselect_core.finetune import own_trainer, preflight
from crowdselect_core.finetune.base_model import base_model
from crowdselect_core.finetune.base_tokenizer import add_tokenizer
from crowdselect_core.finetune.own_card import own_card
from crowdselect_core.finetune.rows import file_rows
from crowdselect_core.processes.user_command import ALLOWED, CommandFailed
from crowdselect_core.report.training import training_lines
from crowdselect_core.store.artifacts import Store

# It keeps the base model's files, and notes what it was given.
TRAINER = """
import json, os, pathlib, shutil, sys
rows, out, seed, base = sys.argv[1:]
out = pathlib.Path(out)
for file in pathlib.Path(base).iterdir():
    shutil.copy(file, out)
given = {"rows": len(open(rows).readlines()), "first": json.loads(open(rows).readline())}
given |= {"seed": seed, "gpus": os.environ.get("CUDA_VISIBLE_DEVICES"), "cwd": os.listdir(".")}
(out / "given.json").write_text(json.dumps(given))
(out / "training_args.bin").write_bytes(b"a pickle")
(out / "checkpoint-7").mkdir()
"""


@pytest.fixture(autouse=True)
def allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ALLOWED, "1")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Files that look like a model's."""
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "tokenizer.json").write_text("{}")
    return folder


def prepared(
    tmp_path: Path, base: Path, code: str = TRAINER, **keys: object
) -> own_trainer.OwnTraining:
    script = tmp_path / "trainer.py"
    script.write_text(code)
    words = (
        f"{shlex.join([sys.executable, '-S', str(script)])} {{train_file}} {{output_dir}} {{seed}}"
    )
    config = TrainingConfig.model_validate(
        {"base_model": str(base), "command": f"{words} {{base_model}}", "seed": 5, **keys}
    )
    assert preflight.check(config) == base_model(config)
    rows = file_rows(str(train_file(tmp_path / "train.jsonl")))
    return own_trainer.prepare(config, base_model(config), rows)


def test_its_output_folder_is_the_model(
    tmp_path: Path, base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "crowdselect")
    store, job = Store(str(tmp_path / "store")), prepared(tmp_path, base)
    model = own_trainer.train(job, store, ["3", "4"])
    assert store.find(job.spec) is not None
    out = tmp_path / "out"
    told = trained_model.write(str(out), model)
    assert {p.name for p in (out / "model").iterdir()} == {
        "config.json", "model.safetensors", "tokenizer.json", "given.json", "README.md"
    }  # fmt: skip
    assert json.loads((out / "model" / "given.json").read_text()) == {
        "rows": 10, "first": {"messages": conversation(0)}, "seed": "5", "gpus": "3,4", "cwd": [],
    }  # fmt: skip
    assert "not stored of the command's folder: checkpoint-7, training_args.bin" in caplog.text
    assert told["recipe"]["command"] == job.config.command
    assert "10; steps and losses" in training_lines(told)[1]
    assert job.spec.key in (out / "model" / "README.md").read_text()


def test_what_names_a_model(tmp_path: Path, base: Path) -> None:
    key = prepared(tmp_path, base).spec.key
    assert prepared(tmp_path, base, num_processes=4).spec.key == key
    assert prepared(tmp_path, base, seed=6).spec.key != key
    assert prepared(tmp_path, base, command="true {output_dir}").spec.key != key
    (base / "model.safetensors").write_bytes(b"others")
    assert prepared(tmp_path, base).spec.key != key


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ([], "found no file"),
        (["config.json", "pytorch_model.bin"], r"pytorch_model.bin: pickle files are not read"),
        (["model.safetensors"], "found model.safetensors:"),
        (["config.json", "adapter_model.safetensors"], "adapter_config.json and"),
        (["adapter_config.json", "adapter_model.safetensors"], None),
        (["config.json", "model-00001-of-00002.safetensors"], None),
    ],
)
def test_a_folder_that_holds_no_model_is_listed(
    tmp_path: Path, files: list[str], expected: str | None
) -> None:
    for name in files:
        (tmp_path / name).touch()
    if expected is None:
        assert own_trainer.model_files(tmp_path) == sorted(files)
    else:
        with pytest.raises(ConfigError, match=expected):
            own_trainer.model_files(tmp_path)


def test_a_link_out_of_the_folder_is_no_file_of_the_model(tmp_path: Path, base: Path) -> None:
    (base / "secret.json").symlink_to("/etc/passwd")
    assert "secret.json" in (path.name for path in base.iterdir())
    assert own_trainer.model_files(base) == ["config.json", "model.safetensors", "tokenizer.json"]


WEIGHTS_ALONE = """
import pathlib, sys
rows, out, seed, base = map(pathlib.Path, sys.argv[1:])
(out / "config.json").write_text("{}")
(out / "model.safetensors").write_bytes(b"trained")
(out / "chat_template.jinja").write_text("own")
"""


def test_a_model_without_a_tokenizer_has_the_base_models(
    tmp_path: Path, base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (base / "chat_template.jinja").write_text("of the base")
    (base / "tokenizer_config.json").write_text("{}")
    store = Store(str(tmp_path / "store"))
    trained_model.write(
        str(tmp_path / "out"), own_trainer.train(prepared(tmp_path, base, WEIGHTS_ALONE), store)
    )
    model = tmp_path / "out" / "model"
    assert {p.name for p in model.iterdir()} == {
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
        "chat_template.jinja", "README.md",
    }  # fmt: skip
    assert (model / "chat_template.jinja").read_text() == "own"
    assert (model / "model.safetensors").read_bytes() == b"trained"
    (base / "tokenizer.json").unlink()
    kept = own_trainer.train(prepared(tmp_path, base, WEIGHTS_ALONE), store)
    assert "has none either: have the command save a tokenizer" in caplog.text  # beforehand
    assert "the model is stored without one" in caplog.text
    trained_model.write(str(tmp_path / "bare"), kept)
    assert (tmp_path / "bare" / "model" / "model.safetensors").read_bytes() == b"trained"
    assert not (tmp_path / "bare" / "model" / "tokenizer.json").exists()
    (base / "adapter_config.json").touch()
    assert add_tokenizer(base, base_model(TrainingConfig(base_model=str(base))), "x") == []


def test_one_that_fails_or_is_cancelled_leaves_no_model(tmp_path: Path, base: Path) -> None:
    store = Store(str(tmp_path / "store"))
    fails = prepared(tmp_path, base, "raise SystemExit('out of patience')")
    with pytest.raises(CommandFailed, match=r"exit code 1\n(.|\n)*\| out of patience"):
        own_trainer.train(fails, store)

    def cancelled() -> None:
        raise Stopped("cancelled")

    sleeps = prepared(tmp_path, base, "import time; time.sleep(600)")
    with pytest.raises(Stopped):
        own_trainer.train(sleeps, store, checked=cancelled)
    assert store.find(fails.spec) is store.find(sleeps.spec) is None


def test_what_is_refused_before_anything_is_selected(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValidationError, match="does not read learning_rate, peft"):
        prepared(tmp_path, base, peft="lora", learning_rate=1e-3)
    prepared(tmp_path, base, max_length=2048, peft=None)  # what has its default says nothing
    monkeypatch.delenv(ALLOWED)
    with pytest.raises(ConfigError, match=f"set {ALLOWED}=1"):
        prepared(tmp_path, base)


def test_the_card_which_is_pushed_does_not_tell_the_command(tmp_path: Path, base: Path) -> None:
    job = prepared(tmp_path, base, command="true /home/me/secret-project ```")
    told = own_trainer._told(job, base)
    assert told["recipe"]["command"] == job.config.command
    card = own_card(told)
    block = card.split("```json\n")[1].split("\n```")[0]
    assert json.loads(block).items() <= told["recipe"].items()
    assert "secret-project" not in card
    assert card.count("```") == 2
    assert yaml.safe_load(card.split("---")[1])["library_name"] == "transformers"
