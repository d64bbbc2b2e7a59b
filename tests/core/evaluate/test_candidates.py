"""The models of an evaluation: names, identities, adapters, and answers of a tiny real model."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError
from tinymodel import smollm_tokenizer, write_tiny

from crowdselect_core.config.engine import SamplingConfig
from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.errors import ConfigError
from crowdselect_core.evaluate import answers, candidate_engine
from crowdselect_core.evaluate.candidates import MODEL, candidates, opened
from crowdselect_core.evaluate.live import Question
from crowdselect_core.evaluate.sources import Source, adapter_config
from crowdselect_core.finetune.files import pack
from crowdselect_core.generate.vllm.command import lora_words
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


def test_an_adapter_is_served_as_lora(
    monkeypatch: pytest.MonkeyPatch, tiny: Path, tmp_path: Path
) -> None:
    adapter = adapter_of(tiny, tmp_path / "adapter")
    words = lora_words(adapter)
    assert words[0] == "--enable-lora"
    assert words[1:] == [f"--lora-modules=crowdselect-lora={adapter}", "--max-lora-rank=8"]
    config = config_of(tmp_path, model=str(adapter))
    assert config.evaluation is not None
    given: list[Any] = []

    class Reached(Exception):
        """The engine would be opened now."""

    def opening(*args: Any) -> None:
        given.extend(args)
        raise Reached

    monkeypatch.setattr(candidate_engine, "open_engine", opening)
    for engine, error in (({"kind": "vllm"}, Reached), ({"kind": "transformers"}, ConfigError)):
        told = {"benchmarks": [BENCHMARK], "engine": engine, "adapter": "lora"}
        tools = quiet_tools(config_of(tmp_path, model=str(adapter), evaluation=told), lambda b: "")
        [one] = candidates(tools.config, tools.store, None)
        with pytest.raises(error):
            answers.answer(QUESTIONS, one, tools)
    assert (given[1].model, given[-1]) == (str(tiny), adapter)


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

    monkeypatch.setattr(candidate_engine, "open_engine", refused)
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


def test_what_an_endpoint_serves(tmp_path: Path) -> None:
    def spec_of(**told: Any) -> tuple[Any, Any]:
        model = {"name": "Qwen/q", "engine": {"kind": "openai"}, **told}
        evaluation = {"benchmarks": [BENCHMARK], "models": [model]}
        config = config_of(tmp_path, evaluation=evaluation)
        [one] = candidates(config, Store(config.store), None)
        assert config.evaluation is not None
        return one, answers.answer_spec(one, SamplingConfig(), config.evaluation).identity

    one, identity = spec_of(revision="v2")
    assert (one.name, one.engine.model) == ("q", "Qwen/q")
    assert (identity["alias"], identity["revision"]) == ("Qwen/q", "v2")
    assert spec_of(model="there")[1]["alias"] == "there"
    one, identity = spec_of(engine={"kind": "openai", "model": "alias"})
    assert (one.name, identity["alias"]) == ("Qwen/q", "alias")


def test_the_model_of_an_engine_that_runs_here(tiny: Path, tmp_path: Path) -> None:
    model = {"name": "q", "engine": {"kind": "vllm", "model": str(tiny)}}
    config = config_of(tmp_path, evaluation={"benchmarks": [BENCHMARK], "models": [model]})
    [one] = candidates(config, Store(config.store), None)
    assert (one.name, one.source) == ("q", Source(model=str(tiny)))
    with pytest.raises(ValidationError, match="expected one of them"):
        config_of(tmp_path, evaluation={"models": [{**model, "model": "other"}]})
    with pytest.raises(ValidationError, match=r"engine\.model: expected nothing, found 'x'"):
        config_of(tmp_path, evaluation={"engine": {"kind": "vllm", "model": "x"}})


def named_adapter(folder: Path, base: str) -> Path:
    folder.mkdir()
    told = {"base_model_name_or_path": base}
    (folder / "adapter_config.json").write_text(json.dumps(told))
    return folder


def test_an_adapter_is_put_on_its_own_base_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("base", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps({"name": name}))
    base, other = str(tmp_path / "base"), str(tmp_path / "other")
    named_adapter(tmp_path / "adapter", base)
    monkeypatch.setenv("HOME", str(tmp_path))

    def found(**keys: Any) -> Any:
        config = config_of(tmp_path, **keys)
        return candidates(config, Store(config.store), None)

    training = {"train_file": "x.jsonl"}
    with pytest.raises(ConfigError, match=r"was trained on '.*base', and training.base_model is"):
        found(model="~/adapter", training={**training, "base_model": other})
    for name in (base, None):
        keys = {"training": {**training, "base_model": name}} if name else {}
        one = found(model="~/adapter", **keys)[0]
        assert (one.source, one.base) == (
            Source(model=str(tmp_path / "adapter")), Source(model=base),
        )  # fmt: skip
    evaluation = {"benchmarks": [BENCHMARK], "models": [str(tmp_path / "adapter")]}
    [one] = found(evaluation=evaluation)
    assert one.weights == f"{model_identity(str(tmp_path / 'adapter'))}+{model_identity(base)}"
    assert one.base == Source(model=base)


def test_an_adapter_on_the_hub_is_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text("{}")
    base = str(tmp_path / "base")
    cached = named_adapter(tmp_path / "cached", base) / "adapter_config.json"
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *a, **k: str(cached))
    commit = "0123456789" * 4
    model = {"name": "a", "model": "org/adapter-of-a-test", "revision": commit}
    config = config_of(tmp_path, evaluation={"benchmarks": [BENCHMARK], "models": [model]})
    [one] = candidates(config, Store(config.store), None)
    assert one.weights == f"commit:{commit}+{model_identity(base)}"
    assert (one.base, one.source.revision if one.source else None) == (Source(model=base), commit)


def test_a_hub_that_does_not_answer_is_no_full_model(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cached: list[str] = []
    files = [SimpleNamespace(rfilename="config.json")]

    def look(model: str, name: str, **keys: Any) -> str | None:
        return "there" if name in cached else None

    def unreachable(*args: Any, **keys: Any) -> Any:
        raise TimeoutError("no answer")

    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", look)
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", unreachable)
    with pytest.raises(ConfigError, match="is a LoRA adapter cannot be looked up: no answer"):
        adapter_config(Source(model="org/of-a-test-1", revision="1" * 40))
    cached.append("config.json")
    assert adapter_config(Source(model="org/of-a-test-2", revision="1" * 40)) is None
    monkeypatch.setattr(
        "huggingface_hub.HfApi.model_info", lambda *a, **k: SimpleNamespace(siblings=files)
    )
    cached.clear()
    assert adapter_config(Source(model="org/of-a-test-1", revision="1" * 40)) is None


def test_a_merged_model_has_the_format_of_its_base(tiny: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    base = tmp_path / "base"
    AutoModelForCausalLM.from_pretrained(tiny).to(torch.bfloat16).save_pretrained(base)
    smollm_tokenizer().save_pretrained(base)
    config = config_of(tmp_path, model=str(adapter_of(base, tmp_path / "adapter")))
    [one] = candidates(config, Store(config.store), None)
    with opened(one, Store(config.store)) as source:
        weights = load_file(Path(source.model) / "model.safetensors")
        told = json.loads((Path(source.model) / "config.json").read_text())
    assert {w.dtype for w in weights.values()} == {torch.bfloat16}
    assert told["dtype"] == "bfloat16"
