"""lm-eval in its own process: a task of local files, whose results are checked by hand."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from tinymodel import write_tiny

from crowdselect_core.config.benchmarks import LmEvalBenchmark
from crowdselect_core.errors import ConfigError, EvaluationError
from crowdselect_core.evaluate import lm_eval_tasks
from crowdselect_core.evaluate.lm_eval_results import refusals, results_of
from crowdselect_core.store.artifacts import Store

QUESTIONS = ["The cat", "A dog", "One ant", "Two bees", "Some fox", "An owl"]
CHOICES = [" sleeps", " barks loudly", " walks"]

MULTIPLE_CHOICE = """
task: little_choice
dataset_path: json
dataset_kwargs:
  data_files: {{test: {data}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{answer}}}}"
target_delimiter: ""
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
metadata:
  version: 1.0
"""
GENERATED = """
task: little_words
dataset_path: json
dataset_kwargs:
  data_files: {{test: {data}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{question}}}}"
generation_kwargs: {{until: ["\\n"], do_sample: false, max_gen_toks: 4}}
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
metadata:
  version: 1.0
"""


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    data = tmp_path / "questions.jsonl"
    rows = [
        {"question": question, "choices": CHOICES, "answer": number % 3}
        for number, question in enumerate(QUESTIONS)
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    folder = tmp_path / "tasks"
    folder.mkdir()
    (folder / "choice.yaml").write_text(MULTIPLE_CHOICE.format(data=data), "utf-8")
    (folder / "words.yaml").write_text(GENERATED.format(data=data), "utf-8")
    return folder


def benchmark(tasks: list[str], folder: Path | None = None, **keys: Any) -> LmEvalBenchmark:
    path = str(folder) if folder else None
    return LmEvalBenchmark(kind="lm-eval", tasks=tasks, include_path=path, **keys)


def likeliest(model: Path) -> list[int]:
    """The choice of each question that a plain loop over transformers finds the likeliest."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    weights = AutoModelForCausalLM.from_pretrained(model)
    tokenizer = AutoTokenizer.from_pretrained(model)
    found = []
    for question in QUESTIONS:
        totals = []
        for choice in CHOICES:
            prompt, whole = (tokenizer.encode(text) for text in (question, question + choice))
            with torch.no_grad():
                logits = weights(torch.tensor([whole])).logits[0].log_softmax(-1)
            places = range(len(prompt), len(whole))
            totals.append(sum(float(logits[at - 1, whole[at]]) for at in places))
        found.append(totals.index(max(totals)))
    return found


@pytest.mark.model
def test_tasks_are_run_once_and_stored(
    tasks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lm_eval")
    monkeypatch.setenv("CROWDSELECT_ALLOW_COMMANDS", "1")
    tiny = write_tiny(tmp_path / "model")
    store = Store(str(tmp_path / "store"))
    config = benchmark(["little_choice", "little_words"], tasks, apply_chat_template=False)
    lm_eval_tasks.check(config)
    model = lm_eval_tasks.hf_model(config, "tiny", "sha256:1", str(tiny))
    said: list[tuple[int, int]] = []
    (tmp_path / "work").mkdir()
    found = lm_eval_tasks.measure(
        store, config, model, tmp_path / "work", lambda *told: said.append(told)
    )
    by_name = {one.metric: one for one in found}
    assert set(by_name) == {"little_choice/acc", "little_words/exact_match"}
    one = by_name["little_choice/acc"]
    right = [choice == number % 3 for number, choice in enumerate(likeliest(tiny))]
    mean = sum(right) / 6
    assert one.value == pytest.approx(mean)
    assert one.n == 6
    # The standard error of a mean: the sample's deviation (n - 1) over the root of n.
    stderr = math.sqrt(sum((r - mean) ** 2 for r in right) / 5 / 6)
    assert one.low == pytest.approx(mean - 1.959964 * stderr)
    assert one.high == pytest.approx(mean + 1.959964 * stderr)
    assert said[0] == (0, 2)

    again = lm_eval_tasks.measure(store, config, model, tmp_path / "gone", nothing_is_run)
    assert again == found
    fewer = config.model_copy(update={"limit": 3})
    assert lm_eval_tasks.cells(store, fewer, model.identity).find("little_choice") is None
    (tasks / "words.yaml").write_text("task: other\n", "utf-8")
    assert lm_eval_tasks.cells(store, config, model.identity).find("little_choice") is None


def nothing_is_run(done: int, total: int) -> None:
    """A report that must not be called."""
    raise AssertionError("nothing is to be run")


def test_what_lm_eval_says_is_told() -> None:
    unknown = json.dumps({"error": "has no task 'gsm8'", "close": ["gsm8k"]})
    with pytest.raises(EvaluationError, match=r"mine: lm-eval has no task 'gsm8', did.*'gsm8k'"):
        results_of("mine", unknown)
    failed = json.dumps({"task": "ifeval", "error": "ModuleNotFoundError: No module 'langdetect'"})
    with pytest.raises(EvaluationError, match=r"mine: lm-eval task ifeval: ModuleNotFoundError"):
        results_of("mine", failed)


def test_results_are_named_as_lm_eval_names_them() -> None:
    line = json.dumps({
        "task": "gsm8k",
        "results": {
            "gsm8k": {
                "alias": "gsm8k", "sample_len": 100,
                "exact_match,strict-match": 0.25, "exact_match_stderr,strict-match": 0.05,
                "exact_match,flexible-extract": 0.5, "exact_match_stderr,flexible-extract": "N/A",
                "acc,none": None, "acc_stderr,none": None,
            },
        },
        "n": {"gsm8k": 100},
    })  # fmt: skip
    task, found = results_of("mine", line)
    assert task == "gsm8k"
    told = [(one.metric, one.value, one.n) for one in found]
    assert told == [
        ("gsm8k/exact_match,strict-match", 0.25, 100),
        ("gsm8k/exact_match,flexible-extract", 0.5, 100),
        ("gsm8k/acc", None, 100),
    ]
    assert (found[0].low, found[0].high) == pytest.approx(
        (0.1520018, 0.3479982)
    )  # 0.25 -+ 0.0979982
    assert (found[1].low, found[1].high) == (None, None)


@pytest.mark.parametrize("task", ["/etc/passwd", "../tasks/x.yaml", "", "a,b"])
def test_a_task_is_a_name(task: str) -> None:
    with pytest.raises(ValidationError, match="expected the name of a task"):
        benchmark([task])


@pytest.mark.parametrize("key", ["python", "include_path"])
def test_no_program_and_no_tasks_of_a_form_run_unless_commands_are_allowed(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CROWDSELECT_ALLOW_COMMANDS", raising=False)
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\necho ran >> {tmp_path}/runs\necho 1\n")
    program.chmod(0o755)
    config = LmEvalBenchmark(
        kind="lm-eval",
        tasks=["gsm8k"],
        **{key: str(program if key == "python" else tmp_path)},  # type: ignore[arg-type]
    )
    for way in (lm_eval_tasks.check, lm_eval_tasks.harness_version):
        with pytest.raises(ConfigError, match=rf"lm-eval: {key}: .* CROWDSELECT_ALLOW_COMMANDS=1"):
            way(config)
    with pytest.raises(ConfigError, match="CROWDSELECT_ALLOW_COMMANDS=1"):
        lm_eval_tasks.cells(Store(str(tmp_path / "store")), config, {})
    assert not (tmp_path / "runs").exists()


def test_what_is_not_there_is_told_beforehand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROWDSELECT_ALLOW_COMMANDS", "1")
    with pytest.raises(ConfigError, match=r"nothing/python' does not run, or has no lm-eval"):
        lm_eval_tasks.check(benchmark(["gsm8k"], python=str(tmp_path / "nothing/python")))
    pytest.importorskip("lm_eval")
    with pytest.raises(ConfigError, match=r"nltk_data .* is no folder"):
        lm_eval_tasks.check(benchmark(["gsm8k"], nltk_data=str(tmp_path / "nothing")))
    with pytest.raises(ConfigError, match=r"data_files of gsm8k: no such file"):
        lm_eval_tasks.check(benchmark(["gsm8k"], data_files={"gsm8k": str(tmp_path / "nothing")}))
    with pytest.raises(ValidationError, match=r"data_files: 'gsm' is none of tasks, did you mean"):
        benchmark(["gsm8k"], data_files={"gsm": "x"})


def test_refused_answers_are_counted_where_they_were_asked_and_in_their_group() -> None:
    metrics = {"alias": "x", "acc,none": 0.5, "acc_stderr,none": 0.1}
    told = {"task": "g", "results": dict.fromkeys(("g", "a", "b"), metrics),
            "n": {"g": 9, "a": 4, "b": 5}}  # fmt: skip
    task, found = results_of("lm", json.dumps(told), {"b": 2})
    assert task == "g"
    assert [(one.metric, one.n, one.unparsed) for one in found] == [
        ("g/acc", 9, 2), ("a/acc", 4, 0), ("b/acc", 5, 2),
    ]  # fmt: skip
    assert refusals("lm-eval", "m", found) == [
        "lm-eval: m: 2 answers of g (n 9) were refused for good and count as empty ones",
        "lm-eval: m: 2 answers of b (n 5) were refused for good and count as empty ones",
    ]
    assert refusals("lm-eval", "m", results_of("lm", json.dumps(told))[1]) == []
