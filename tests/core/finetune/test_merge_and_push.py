"""An adapter merged into the weights, and a model uploaded to a stand-in for the hub."""

import json
from pathlib import Path
from typing import Any

import pytest
from fake_hub import TOKEN, fake_hub
from finetuned import pairs_file, recipe

from crowdselect_core.config.finetune import TrainingConfig
from crowdselect_core.errors import ConfigError
from crowdselect_core.export import trained_model
from crowdselect_core.finetune import hub_upload
from crowdselect_core.finetune.base_model import base_model
from crowdselect_core.finetune.merge import merge, spec
from crowdselect_core.finetune.pair_rows import file_pairs
from crowdselect_core.finetune.training import Prepared, prepare, train
from crowdselect_core.store.artifacts import Artifact, Store

pytest.importorskip("trl")
pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("merged")


@pytest.fixture(scope="module")
def job(place: Path, tiny: Path) -> Prepared:
    peft = {"r": 8, "lora_alpha": 64}
    config = TrainingConfig.model_validate(
        recipe(tiny, loss="simpo", peft=peft, num_train_epochs=1, learning_rate=1e-2, merge=True)
    )
    rows = file_pairs(str(pairs_file(place / "pairs.jsonl", 4)))
    return prepare(config, base_model(config), rows, gpu=False)


@pytest.fixture(scope="module")
def adapter(place: Path, job: Prepared) -> Artifact:
    return train(job, Store(str(place / "store")))


@pytest.fixture(scope="module")
def merged(place: Path, job: Prepared, adapter: Artifact) -> Artifact:
    return merge(job.config, job.base, adapter, Store(str(place / "store")), gpu=False)


def logits(model: Any, job: Prepared) -> Any:
    import torch

    with torch.no_grad():
        return model(torch.tensor([job.rows.tokens[0].prompt])).logits


def test_the_merged_model_gives_the_logits_of_base_and_adapter(
    place: Path, job: Prepared, adapter: Artifact, merged: Artifact
) -> None:
    import transformers
    from peft import PeftModel

    from crowdselect_core.finetune.files import unpack

    out = place / "out"
    told = trained_model.write(str(out), merged)
    assert told["merged"]
    assert json.loads((out / "training.json").read_text())["key"] == adapter.key
    assert not list(out.glob("model/adapter_*"))
    whole = transformers.AutoModelForCausalLM.from_pretrained(out / "model")
    assert transformers.AutoTokenizer.from_pretrained(out / "model").chat_template
    unpack(adapter, place / "adapter")
    base = job.source.load()
    before = logits(base, job)
    expected = logits(PeftModel.from_pretrained(base, place / "adapter" / "model").eval(), job)
    assert float((expected - before).abs().max()) > 0.1  # the adapter changes something
    assert float((logits(whole.eval(), job) - expected).abs().max()) < 2e-3
    card = (out / "model" / "README.md").read_text()
    assert "LoRA merged into the weights" in card
    assert "library_name: transformers" in card


def test_merging_is_beside_the_training_and_repeatable(
    place: Path, tiny: Path, job: Prepared, adapter: Artifact, merged: Artifact
) -> None:
    store = Store(str(place / "store"))
    found = store.find(spec(job.config, adapter.key, gpu=False))
    assert found is not None
    assert found.manifest == merged.manifest
    again = merge(job.config, job.base, adapter, Store(str(place / "other")), gpu=False)
    assert again.manifest == merged.manifest
    apart = job.config.model_copy(update={"merge": False})
    rows = file_pairs(str(place / "pairs.jsonl"))
    assert prepare(apart, job.base, rows, gpu=False).spec == job.spec


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv(hub_upload.TOKEN, TOKEN)
    return monkeypatch


def test_a_model_is_uploaded_in_one_commit(
    online: pytest.MonkeyPatch, adapter: Artifact, place: Path
) -> None:
    with fake_hub() as hub:
        online.setenv(hub_upload.ENDPOINT, hub.url)
        assert hub_upload.upload_model("org/name", adapter) == f"{hub.url}/org/name"
    (created,) = hub.created
    assert (created["name"], created["organization"]) == ("name", "org")
    assert created["visibility"] == "private"
    assert hub.messages == [f"CrowdSelect training {adapter.key[:16]}"]
    assert hub.tokens == {TOKEN}
    named = adapter.manifest.facts["files"]
    assert {f"model/{name}" for name in hub.files} == {n for n in named if n.startswith("model/")}
    assert "adapter_model.safetensors" in hub.files
    for name, data in hub.files.items():
        assert len(data) == named[f"model/{name}"]["bytes"]


@pytest.mark.parametrize(
    ("token", "offline", "expected"),
    [
        (None, False, "set HF_TOKEN to a token"),
        (TOKEN, True, "HF_HUB_OFFLINE is set"),
        ("hf_other", False, "org/name: the hub answered 401"),
    ],
)
def test_an_upload_that_cannot_be_is_one_line(
    online: pytest.MonkeyPatch,
    adapter: Artifact,
    token: str | None,
    offline: bool,
    expected: str,
) -> None:
    from huggingface_hub import constants

    online.setattr(constants, "HF_HUB_OFFLINE", offline)
    if token is None:
        online.delenv(hub_upload.TOKEN)
    else:
        online.setenv(hub_upload.TOKEN, token)
    with fake_hub() as hub:
        online.setenv(hub_upload.ENDPOINT, hub.url)
        with pytest.raises(ConfigError, match=expected) as error:
            hub_upload.upload_model("org/name", adapter)
    assert "\n" not in str(error.value)
    assert not token or token not in str(error.value)
    assert hub.files == {}
