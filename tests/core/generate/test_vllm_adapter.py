"""A LoRA adapter on the real vLLM of .venv-vllm: served as LoRA, it answers as if merged."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from evaluated import tools_of
from peft import LoraConfig, get_peft_model
from test_vllm_server import allowed, needs_vllm, vllm
from transformers import AutoModelForCausalLM
from vllm_models import make_chat

from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.evaluate import answers
from crowdselect_core.evaluate.benchmarks.factory import open_benchmark
from crowdselect_core.evaluate.candidates import candidates
from crowdselect_core.evaluate.live import Question

__all__ = ["allowed"]  # a fixture that holds here too

pytestmark = pytest.mark.vllm

QUESTIONS = [Question(f"q{n}", (f"Name {n} animals.",), 0.0, 12) for n in range(4)]


def make_adapter(base: Path, folder: Path) -> Path:
    """Write an adapter of random weights, which changes what the base says."""
    torch.manual_seed(1)
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base),
        LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"),
    )
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.normal_(std=0.3)
    model.save_pretrained(folder)
    return folder


def config_of(folder: Path, model: Path, engine: dict[str, Any], adapter: str) -> EvaluateConfig:
    """Return an evaluation of a model by a task of lm-eval that its engine answers."""
    lines = [{"q": question.turns[0]} for question in QUESTIONS]
    tasks = folder / "tasks"
    tasks.mkdir(exist_ok=True)
    data = tasks / "data.jsonl"
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tasks / "words.yaml").write_text(
        f"task: words\ndataset_path: json\ndataset_kwargs: {{data_files: {{test: {data}}}}}\n"
        "test_split: test\noutput_type: generate_until\ndoc_to_text: '{{q}}'\n"
        "doc_to_target: 'no'\ngeneration_kwargs: {until: ['@@'], max_gen_toks: 12}\n"
        "metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]\n"
    )
    benchmark = {
        "kind": "lm-eval", "tasks": "words", "include_path": str(tasks), "use_engine": True,
    }  # fmt: skip
    return EvaluateConfig.model_validate({
        "store": str(folder / adapter), "out": str(folder / "out"), "model": str(model),
        "evaluation": {"benchmarks": [benchmark], "engine": engine, "adapter": adapter},
    }).resolved()  # fmt: skip


@needs_vllm
def test_a_served_adapter_answers_as_the_merged_one(tmp_path: Path) -> None:
    base = make_chat(tmp_path / "base")
    adapter = make_adapter(base, tmp_path / "adapter")
    transformers = {"kind": "transformers", "dtype": "float32"}
    served = vllm(args={"max_model_len": 256}).model_dump(exclude_unset=True)

    def texts(model: Path, engine: dict[str, Any], how: str) -> list[list[str]]:
        config = config_of(tmp_path, model, engine, how)
        tools = tools_of(config)
        [one] = candidates(config, tools.store, None)
        answers.answer(QUESTIONS, one, tools)
        return [reply.turns for reply in answers.replies(QUESTIONS, one, tools)]

    merged = texts(adapter, transformers, "merge")
    assert texts(adapter, served, "lora") == merged
    assert texts(base, transformers, "merge") != merged


@needs_vllm
def test_lm_eval_measures_what_a_server_answers(tmp_path: Path) -> None:
    base = make_chat(tmp_path / "base")
    served = vllm(args={"max_model_len": 256}).model_dump(exclude_unset=True)
    config = config_of(tmp_path, base, served, "merge")
    tools = tools_of(config)
    assert config.evaluation is not None
    benchmark = open_benchmark(config.evaluation.benchmarks[0], config)
    outcome = benchmark.run(candidates(config, tools.store, None), tools)
    assert [(r.metric, r.value, r.n) for r in outcome.results] == [("words/exact_match", 0.0, 4)]
