"""The benchmarks without a judge, as a run calls them."""

import json
from pathlib import Path
from typing import Any

import pytest
from evaluated import config_of, heldout_artifacts, tools_of
from tinymodel import write_tiny

from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.errors import ConfigError, EvaluationError
from crowdselect_core.evaluate.benchmarks.factory import open_benchmark
from crowdselect_core.evaluate.candidates import Candidate, candidates
from crowdselect_core.evaluate.live import Benchmark
from crowdselect_core.evaluate.prompt_file import read_prompts
from crowdselect_core.evaluate.sources import Source
from crowdselect_core.models.hub import model_identity
from crowdselect_core.store.artifacts import Store

LONGER = """
def longer(prompts, completions, **kwargs):
    return [float(len(completion[0]["content"])) for completion in completions]
"""
PROMPTS = ["Name an animal", "Count to three", "Say nothing", "What is a fox?"]
LENGTH = {"name": "length", "kind": "function", "path": "my_checks:longer"}
ENDPOINT = Candidate(name="far", role="other", weights=None)
MODELS = [Candidate(name="near", role="base", weights=None), ENDPOINT]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("unjudged") / "model")


def local(name: str, folder: Path, role: Any = "other") -> Candidate:
    weights = model_identity(str(folder))
    return Candidate(name=name, role=role, weights=weights, source=Source(model=str(folder)))


def opened(config: EvaluateConfig) -> Benchmark:
    assert config.evaluation is not None
    return open_benchmark(config.evaluation.benchmarks[0], config)


@pytest.mark.model
def test_heldout_loss_leaves_out_what_it_cannot_measure(tiny: Path, tmp_path: Path) -> None:
    config = config_of(tmp_path, [{"kind": "heldout-loss", "limit": 2}])
    rows = [("Say ant", "ant"), ("Say bee", None), ("Say cat", "cat"), ("Say dog", "dog")]
    tools = tools_of(config, heldout_artifacts(Store(config.store), rows))
    outcome = opened(config).run([local("tiny", tiny), ENDPOINT], tools)
    assert [(r.metric, r.model, r.n) for r in outcome.results] == [
        ("loss", "tiny", 2),
        ("loss_per_row", "tiny", 2),
    ]
    assert any("far is an endpoint" in note for note in outcome.notes)
    assert any("1 held-out rows have no answer" in note for note in outcome.notes)
    with pytest.raises(ConfigError, match="all models are endpoints"):
        opened(config).run([ENDPOINT], tools)


def test_heldout_loss_needs_held_out_answers(tmp_path: Path) -> None:
    benchmarks = [{"kind": "heldout-loss"}]
    for keys, lacking in (
        ({}, "has no key dataset"),
        ({"dataset": "x.parquet"}, "has no key heldout"),
        ({"dataset": "x.parquet", "heldout": {"share": 0.1}}, "heldout.answers is empty"),
    ):
        config = config_of(tmp_path, benchmarks, model="m", **keys)
        with pytest.raises(ConfigError, match=lacking):
            opened(config).check(config, MODELS)
    config = config_of(tmp_path, benchmarks)
    tools = tools_of(config, heldout_artifacts(Store(config.store), [("Say ant", None)]))
    with pytest.raises(EvaluationError, match="none of the 1 held-out rows has an answer"):
        opened(config).run([ENDPOINT], tools)


@pytest.mark.model
def test_a_reward_model_compares_with_the_base(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_checks.py").write_text(LONGER)
    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / "prompts.jsonl"
    lines = [{"prompt": p, "id": f"q{n}", "category": f"c{n % 2}"} for n, p in enumerate(PROMPTS)]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    benchmark = {
        "kind": "reward-win-rate", "reward_model": LENGTH, "path": str(file), "max_tokens": 6,
    }  # fmt: skip
    config = config_of(tmp_path, [benchmark])
    other = write_tiny(tmp_path / "other", hidden_size=32, intermediate_size=64)
    models = [local("base", tiny, "base"), local("other", other), local("same", tiny)]
    tools, run = tools_of(config), opened(config)
    run.check(config, models)
    assert len(run.questions) == 4
    outcome = run.run(models, tools)
    found = {(r.model, r.category): r for r in outcome.results}

    from crowdselect_core.evaluate.answers import replies

    texts = {m.name: [r.turns[0] for r in replies(run.questions, m, tools)] for m in models}
    pairs = list(zip(texts["other"], texts["base"], strict=True))
    wins = [1.0 if len(a) > len(b) else 0.5 if len(a) == len(b) else 0.0 for a, b in pairs]
    assert found["other", None].value == pytest.approx(sum(wins) / 4)
    assert found["other", "c1"].value == pytest.approx((wins[1] + wins[3]) / 2)
    same = found["same", None]
    assert (same.value, same.low, same.high) == (0.5, 0.5, 0.5)  # ties count half
    assert (same.n, same.unparsed, same.judge) == (4, 0, "length")
    assert outcome.notes == []
    assert {r.model for r in outcome.results} == {"other", "same"}

    module = "crowdselect_core.evaluate.benchmarks.reward_win_rate"
    monkeypatch.setattr(f"{module}.scorer_of", None)  # nothing is scored again
    assert opened(config).run(models, tools).results == outcome.results


def test_the_reward_model_of_the_selection_is_refused(tmp_path: Path) -> None:
    (tmp_path / "prompts.jsonl").write_text('{"instruction": "Say ant"}\n')
    path = str(tmp_path / "prompts.jsonl")
    grader = {
        "name": "grader", "kind": "judge",
        "engine": {"kind": "openai", "base_url": "http://127.0.0.1:9/v1", "model": "m"},
    }  # fmt: skip
    benchmark = {"kind": "reward-win-rate", "reward_model": "grader", "path": path}
    keys: dict[str, Any] = {"dataset": "x.parquet", "reward_models": [grader]}
    config = config_of(tmp_path, [benchmark], **keys)
    with pytest.raises(ConfigError, match="also made the selection"):
        opened(config).check(config, MODELS)
    renamed = {**benchmark, "reward_model": {**grader, "name": "another"}}
    config = config_of(tmp_path, [renamed], **keys)
    with pytest.raises(ConfigError, match="also made the selection"):
        opened(config).check(config, MODELS)
    allowed = config_of(tmp_path, [{**benchmark, "allow_selector": True}], **keys)
    opened(allowed).check(allowed, MODELS)
    without = config_of(tmp_path, [benchmark], reward_models=[grader])  # nothing is selected
    opened(without).check(without, MODELS)
    column = config_of(
        tmp_path,
        [{**benchmark, "reward_model": {"name": "sky", "kind": "classifier", "model": "S/Sky-8B"}}],
        dataset="x.parquet",
        reward_models=["Sky-8B"],
    )  # selected by scores of the data set, under the model's own name
    with pytest.raises(ConfigError, match="'sky' also made the selection"):
        opened(column).check(column, MODELS)
    unknown = config_of(tmp_path, [{**benchmark, "reward_model": "grade"}], **keys)
    with pytest.raises(ConfigError, match="did you mean 'grader'"):
        opened(unknown)


@pytest.mark.model
def test_a_command_is_run_once_on_the_same_weights(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROWDSELECT_ALLOW_COMMANDS", "1")
    script = tmp_path / "count.py"
    script.write_text(
        "import os, sys\n"
        f"open({str(tmp_path / 'runs')!r}, 'a').write('run ')\n"
        "print('{\"files\": %d}' % len(os.listdir(sys.argv[1])))\n"
    )
    command = {"kind": "command", "command": f"python3 {script} {{model_dir}}"}
    config = config_of(tmp_path, [command])
    models = [local("tiny", tiny), local("twin", tiny), ENDPOINT]
    outcome = opened(config).run(models, tools_of(config))
    count = len(list(tiny.iterdir()))
    told = [(r.metric, r.model, r.value) for r in outcome.results]
    assert told == [("files", "tiny", count), ("files", "twin", count)]  # the same weights
    assert (tmp_path / "runs").read_text() == "run "


def test_an_adapter_given_by_path_is_measured_with_its_base(tmp_path: Path) -> None:
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    for folder in (base, adapter):
        folder.mkdir()
        (folder / "config.json").write_text("{}")
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base)}))
    config = config_of(tmp_path, [{"kind": "heldout-loss"}], model=str(adapter))
    (found,) = candidates(config, Store(config.store), None)
    assert found.base == Source(model=str(base))
    assert found.weights == f"{model_identity(str(adapter))}+{model_identity(str(base))}"


def test_ids_of_prompts(tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    rows = [{"prompt": "a", "question_id": 7}, {"prompt": "b", "uid": "u"}, {"prompt": "c"}]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in [*rows, rows[2]]))
    first, second, third = read_prompts(str(file))
    assert (first.id, second.id, len(third.id)) == ("7", "u", 32)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"text": "a"}', "expected one of the keys messages, prompt and instruction"),
        ('{"prompt": " "}', "no instruction text"),
        ('{"messages": [{"role": "system", "content": "a"}]}', "no user turn"),
        ("[1]", "expected a JSON object"),
        ('{"prompt": "a", "id": 1, "category": "c"}', "the same prompt with another category"),
        ('{"prompt": "b", "id": 1}', "id '1' stands twice, on different prompts"),
    ],
)
def test_prompts_that_are_refused(line: str, why: str, tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text(f'{{"prompt": "a", "id": 1}}\n{line}\n')
    with pytest.raises(EvaluationError, match=rf"prompts.jsonl: line 2.*{why}"):
        read_prompts(str(file))


def test_the_first_key_of_a_prompt_counts_and_a_category_that_is_text(tmp_path: Path) -> None:
    said = [{"role": "user", "content": "m"}, {"role": "assistant", "content": "answer"}]
    file = tmp_path / "prompts.jsonl"
    rows: list[dict[str, object]] = [
        {"instruction": "i", "prompt": "p", "messages": said, "category": ["a"]},
        {"instruction": "i", "prompt": "p", "messages": None, "category": 3},
        {"instruction": "i", "category": "c"},
    ]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    found = [(one.messages[0]["content"], one.category) for one in read_prompts(str(file))]
    assert found == [("m", None), ("p", None), ("i", "c")]


def test_prompts_are_read_in_order(tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    turns = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    file.write_text(
        '{"instruction": "x"}\n\n{"instruction": "x"}\n' + json.dumps({"messages": turns}) + "\n"
    )
    one, two = read_prompts(str(file))
    assert [m["content"] for m in one.messages] == ["x"]
    assert len(one.id) == 32
    assert list(two.messages) == turns
    assert read_prompts(str(file), 1) == [one]
    with pytest.raises(EvaluationError, match="no such file"):
        read_prompts(str(tmp_path / "none.jsonl"))
