"""The models of an evaluation: names, identities, adapters, and answers of a tiny real model."""

from pathlib import Path
from typing import Any

import pytest
from tinymodel import write_tiny

from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.errors import ConfigError
from crowdselect_core.evaluate import answers
from crowdselect_core.evaluate.candidates import MODEL, Source, candidates, opened
from crowdselect_core.evaluate.live import Question
from crowdselect_core.finetune.files import pack
from crowdselect_core.models.hub import model_identity
from crowdselect_core.planning.evaluation_forecast import quiet_tools
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.identity import Spec

pytestmark = pytest.mark.model

BENCHMARK = {"kind": "heldout-loss"}
QUESTIONS = [Question("1", ("Say one.", "Again."), 0.0, 4), Question("2", ("Two?",), 0.7, 4)]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("tiny") / "tiny")


def config_of(folder: Path, **keys: Any) -> EvaluateConfig:
    evaluation = {
        "benchmarks": [BENCHMARK], "engine": {"kind": "transformers", "dtype": "float32"},
    }  # fmt: skip
    told = {"store": str(folder / "store"), "out": str(folder / "out"), "evaluation": evaluation}
    return EvaluateConfig.model_validate(told | keys)


def adapter_of(base: Path, folder: Path) -> Path:
    """Write a LoRA adapter that changes the weights."""
    import peft
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_pretrained(base)
    lora = peft.LoraConfig(
        r=2, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM"
    )
    peft.get_peft_model(model, lora).save_pretrained(folder)
    return folder


def test_a_stored_model_is_what_its_folder_is(tiny: Path, tmp_path: Path) -> None:
    config = config_of(tmp_path, training={"base_model": str(tiny), "train_file": "x.jsonl"})
    store = Store(config.store)
    names = [f"{MODEL}/{p.name}" for p in tiny.iterdir() if p.is_file()]
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / MODEL).symlink_to(tiny)
    artifact = pack(store, Spec(MODEL, 1, {"rows": "x"}), tmp_path / "work", names, {})
    trained, base = candidates(config, store, artifact.key)
    assert (trained.name, trained.role) == ("tiny-trained", "trained")
    assert (base.name, base.role, base.source) == ("tiny", "base", Source(model=str(tiny)))
    assert trained.weights == model_identity(str(tiny)) == base.weights
    with opened(trained, store) as source:
        assert model_identity(source.model) == trained.weights
        folder = Path(source.model)
    assert not folder.exists(), "the work folder is removed"


def test_an_adapter_is_merged_and_named_by_both(tiny: Path, tmp_path: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    adapter = adapter_of(tiny, tmp_path / "adapter")
    config = config_of(tmp_path, model=str(adapter))
    [one] = candidates(config, Store(config.store), None)
    assert one.weights == f"{model_identity(str(adapter))}+{model_identity(str(tiny))}"
    ids = torch.tensor([[1, 2, 3, 4]])
    with opened(one, Store(config.store)) as source, torch.inference_mode():
        merged = AutoModelForCausalLM.from_pretrained(source.model)(ids).logits
    base = AutoModelForCausalLM.from_pretrained(tiny)
    with torch.inference_mode():
        plain = base(ids).logits
        apart = PeftModel.from_pretrained(base, adapter)(ids).logits
    assert torch.allclose(merged, apart, atol=1e-3)
    assert not torch.allclose(merged, plain, atol=1e-1)


def test_answers_of_a_model_here_are_stored(
    monkeypatch: pytest.MonkeyPatch, tiny: Path, tmp_path: Path
) -> None:
    config = config_of(tmp_path, model=str(tiny))
    tools = quiet_tools(config, lambda block: "")
    [one] = candidates(config, tools.store, None)
    calls = answers.answer(QUESTIONS, one, tools)
    assert (calls.answered, calls.cached, calls.planned) == (3, 0, 3)
    found = answers.replies(QUESTIONS, one, tools)
    assert [len(reply.turns) for reply in found] == [2, 1]

    def refused(*args: Any) -> None:
        raise AssertionError("the model is loaded again")

    monkeypatch.setattr(answers, "open_engine", refused)
    again = answers.answer(QUESTIONS, one, tools)
    assert (again.answered, again.cached) == (0, 3)
    assert answers.replies(QUESTIONS, one, tools) == found


def test_names(tiny: Path, tmp_path: Path) -> None:
    evaluation = {"benchmarks": [BENCHMARK], "models": [str(tiny)]}
    config = config_of(tmp_path, model=str(tiny), evaluation=evaluation)
    with pytest.raises(ConfigError, match="two models have the name 'tiny'"):
        candidates(config, Store(config.store), None)
    with pytest.raises(ConfigError, match=r"--model: model folder '\./none' does not exist"):
        candidates(config_of(tmp_path, model="./none"), Store(config.store), None)
