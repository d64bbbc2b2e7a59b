"""A training that was interrupted ends with the losses and weights of an undisturbed one."""

import json
import logging
import uuid
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from finetuned import recipe, train_file

from crowdselect_core.config.finetune import TrainingConfig
from crowdselect_core.errors import DamagedArtifact, UserError
from crowdselect_core.export import trained_model
from crowdselect_core.finetune import checkpoints as checkpoints_module
from crowdselect_core.finetune.base_model import base_model
from crowdselect_core.finetune.chat_turns import IGNORED
from crowdselect_core.finetune.curve import Step
from crowdselect_core.finetune.rows import file_rows
from crowdselect_core.finetune.training import Prepared, prepare, train
from crowdselect_core.store.admin.verify import verify
from crowdselect_core.store.artifacts import Artifact, Store

pytest.importorskip("trl")
pytestmark = pytest.mark.model


class Killed(BaseException):
    """Stands for the end of the process."""


def prepared(tmp_path: Path, tiny: Path, **keys: Any) -> Prepared:
    config = TrainingConfig.model_validate(recipe(tiny, **keys))
    rows = file_rows(str(train_file(tmp_path / "train.jsonl")))
    return prepare(config, base_model(config), rows, gpu=False)


def killed_at(step: int) -> Any:
    def progress(made: Step) -> None:
        if made.step == step:
            raise Killed

    return progress


def files(model: Artifact) -> dict[str, str]:
    return {n: f["sha256"] for n, f in model.manifest.facts["files"].items()}


def checkpoints(store: Store) -> dict[int, Artifact]:
    """Return the stored checkpoints by step; some servers list folders that are empty."""
    keys = [
        f.name.split("/")[1] for f in store.place.walk("checkpoint") if f.name.endswith(".json")
    ]
    found = [store.open("checkpoint", key) for key in keys]
    return {a.manifest.identity["step"]: a for a in found}


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the checkpoints of a training go that is killed."""
    if request.param == "folder":
        return str(tmp_path / "killed")
    return f"s3://{request.getfixturevalue('s3').bucket}/{uuid.uuid4().hex}"


def test_going_on_from_a_checkpoint_changes_nothing(
    tmp_path: Path, tiny: Path, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    peft = {"r": 4, "lora_dropout": 0.2} if place.startswith("s3") else None
    caplog.set_level(logging.INFO, "crowdselect")
    job = prepared(tmp_path, tiny, peft=peft)
    whole = train(job, Store(str(tmp_path / "whole")))
    lines = [r.getMessage() for r in caplog.records if "  loss " in r.getMessage()]
    assert [li.split()[1:3] for li in lines] == [["step", f"{n}/10"] for n in range(1, 11)]

    store = Store(place)
    with pytest.raises(Killed):
        train(job, store, killed_at(5))  # in the last step of the first epoch; stored: step 3
    assert store.find(job.spec) is None
    with pytest.raises(Killed):
        train(job, store, killed_at(8))  # in mid-epoch; stored: step 3 and 6
    steps: list[int] = []
    again = train(job, store, lambda made: steps.append(made.step))
    assert steps == [7, 8, 9, 10]
    assert files(again) == files(whole)
    assert again.manifest == whole.manifest

    kept = checkpoints(store)
    assert sorted(kept) == [9, 10]
    checked = verify(store.place)
    assert checked.is_whole, checked.findings
    assert not [n for n in files(again) if n.endswith((".bin", ".pt", ".pth"))]
    named = {name for one in kept.values() for name in one.manifest.facts["files"]}
    assert "training_args.bin" not in named
    assert {"optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"} <= named


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path: Path, tiny: Path) -> None:
    store, job = Store(str(tmp_path / "store")), prepared(tmp_path, tiny)
    with pytest.raises(Killed):
        train(job, store, killed_at(8))
    last = checkpoints(store)[6].key
    shard = next((tmp_path / "store" / "checkpoint" / last).glob("part-00000*"))
    shard.write_bytes(b"x" + shard.read_bytes()[1:])
    steps: list[int] = []
    train(job, store, lambda made: steps.append(made.step))
    assert steps[0] == 4


def test_another_batch_layout_starts_anew_and_says_so(
    tmp_path: Path, tiny: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(str(tmp_path / "store"))
    one, two = (prepared(tmp_path, tiny, per_device_train_batch_size=n) for n in (1, 2))
    assert one.spec == two.spec
    with pytest.raises(Killed):
        train(one, store, killed_at(4))
    steps: list[int] = []
    caplog.set_level(logging.WARNING, "crowdselect")
    with pytest.raises(Killed):
        train(two, store, lambda made: (steps.append(made.step), killed_at(2)(made)))
    assert steps == [1, 2]
    assert "starts from step 0" in caplog.text


def test_what_names_a_model(tmp_path: Path, tiny: Path) -> None:
    key = prepared(tmp_path, tiny).spec.key
    same = [{"save_steps": 7}, {"per_device_train_batch_size": 2}, {"gradient_checkpointing": True}]
    assert {prepared(tmp_path, tiny, **k).spec.key for k in same} == {key}
    other = [{"seed": 1}, {"num_train_epochs": 3}, {"peft": "lora"}, {"max_length": 99}]
    keys = {prepared(tmp_path, tiny, **k).spec.key for k in other}
    assert len(keys) == 4
    assert key not in keys


def test_the_batches_train_the_answers_alone(tmp_path: Path, tiny: Path) -> None:
    from crowdselect_core.finetune.trainers import trainer

    job = prepared(tmp_path, tiny, per_device_train_batch_size=2)
    made = trainer(
        job.config, job.source.load(), job.tokenizer, job.rows, tmp_path / "work",
        gpu=False, save=lambda folder, step: None,
    )  # fmt: skip
    batch = next(iter(made.get_train_dataloader()))
    assert set(batch) == {"input_ids", "attention_mask", "labels", "rows"}
    for at, number in enumerate(batch["rows"].tolist()):
        ids, mask, labels = (batch[n][at] for n in ("input_ids", "attention_mask", "labels"))
        text = job.tokenizer.decode(ids[labels != IGNORED])
        messages = file_rows(str(tmp_path / "train.jsonl")).messages[number]
        answers = [m["content"] for m in messages if m["role"] == "assistant"]
        assert text == "".join(f"{a}<|im_end|>" for a in answers)
        assert set(labels[mask == 0].tolist()) <= {IGNORED}


def test_a_loss_that_is_no_number_ends_with_its_step_and_rows(tmp_path: Path, tiny: Path) -> None:
    import torch

    from crowdselect_core.finetune.trainers import trainer
    from crowdselect_core.finetune.trainers.common import TrainingDiverged

    job = prepared(tmp_path, tiny)
    model = job.source.load()
    made = trainer(
        job.config, model, job.tokenizer, job.rows, tmp_path / "work", gpu=False,
        save=lambda folder, step: None,
    )  # fmt: skip
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    with pytest.raises(TrainingDiverged, match=r"step 1 is nan, in the rows line \d+:"):
        made.train()


def test_the_model_is_written_to_out_once_and_without_what_was_there(
    tmp_path: Path, tiny: Path
) -> None:
    import transformers

    store, out = Store(str(tmp_path / "store")), tmp_path / "out"
    full = train(prepared(tmp_path, tiny), store)
    told = trained_model.write(str(out), full)
    assert not told["cached"]
    model = transformers.AutoModelForCausalLM.from_pretrained(out / "model")
    assert model.num_parameters() > 0
    assert transformers.AutoTokenizer.from_pretrained(out / "model").chat_template
    curve = pl.read_parquet(out / "training.parquet")
    assert curve["step"].to_list() == list(range(1, 11))
    assert curve["loss"][-1] == told["last_loss"] < curve["loss"][0]
    assert curve["eval_loss"].null_count() == 10
    assert trained_model.write(str(out), full)["cached"]

    adapter = train(prepared(tmp_path, tiny, peft="lora", num_train_epochs=1), store)
    own = out / "model" / "own.txt"
    own.write_text("mine")
    with pytest.raises(UserError, match=r"holds model/own.txt, which no training.json"):
        trained_model.write(str(out), adapter)
    own.unlink()
    (out / "training.json").rename(out / trained_model.PENDING)  # as a killed run leaves it
    (out / trained_model.PENDING).write_text(
        json.dumps({"files": [*told["files"], "../up", "train.jsonl"]})
    )
    (out / "train.jsonl").write_text("mine")
    trained_model.write(str(out), adapter)
    assert {p.name for p in out.iterdir()} == {
        "model", "train.jsonl", "training.json", "training.parquet"
    }  # fmt: skip
    names = {p.name for p in (out / "model").iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json", "README.md"} <= names
    assert "model.safetensors" not in names


def test_a_row_longer_than_the_model_reads_is_refused(tmp_path: Path) -> None:
    from tinymodel import write_tiny

    small = write_tiny(tmp_path / "small", max_position_embeddings=32)
    with pytest.raises(UserError, match="set max_length: 32"):
        prepared(tmp_path, small)


def test_files_that_a_manifest_does_not_name_are_refused(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crowdselect_core.finetune import files as packed
    from crowdselect_core.store.identity import Spec

    monkeypatch.setattr(packed, "BLOCK", 5)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_bytes(b"twelve bytes")
    (tmp_path / "in" / "empty").write_bytes(b"")
    store = Store(str(tmp_path / "store"))
    made = packed.pack(store, Spec("checkpoint", 1, {}), tmp_path / "in", ["a.txt", "empty"], {})
    assert made.rows == 4  # blocks of 5, 5 and 2 bytes, and one without any
    packed.unpack(made, tmp_path / "out")
    assert (tmp_path / "out" / "a.txt").read_bytes() == b"twelve bytes"
    assert (tmp_path / "out" / "empty").read_bytes() == b""
    with pytest.raises(ValueError, match="expected letters"):
        packed.pack(store, Spec("checkpoint", 1, {"n": 2}), tmp_path, ["../in/a.txt"], {})
    made.manifest.facts["files"]["../up"] = {"bytes": 0, "sha256": ""}
    with pytest.raises(DamagedArtifact, match="names no files"):
        packed.unpack(made, tmp_path / "again")
    assert checkpoints_module.STAY == 2
