"""What an evaluation finds out before anything is trained or paid for."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from evaluated import config_of, tools_of
from judges import World, write_lines

from crowdselect_core.chat import Message
from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.config.evaluation import required
from crowdselect_core.config.finetune import TrainingConfig
from crowdselect_core.config.finetuning import FinetuneConfig
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import (
    ConfigError,
    DatasetError,
    EvaluationError,
    SelectionError,
    UserError,
)
from crowdselect_core.evaluate import engine_check, forecast, training_overlap
from crowdselect_core.evaluate.benchmarks.factory import open_benchmark
from crowdselect_core.evaluate.candidates import Candidate, Source, expected
from crowdselect_core.evaluate.live import Benchmark, Question
from crowdselect_core.finetune import own_trainer
from crowdselect_core.finetune.base_model import base_model
from crowdselect_core.finetune.rows import file_rows
from crowdselect_core.generate.factory import check_all
from crowdselect_core.planning.evaluation_forecast import stored_model
from crowdselect_core.planning.training_forecast import check_train_file
from crowdselect_core.stages.base import Runner
from crowdselect_core.stages.refs import Ref
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.build import build
from crowdselect_core.store.plan import ShardResult, single
from flows import evaluate

BASE = Candidate(name="b", role="base", weights="sha256:1", source=Source(model="b"))
PRICE = {"input": 1_000.0, "output": 2_000.0}


def reply(name: str, messages: Sequence[Message]) -> str:
    return "yes"


def opened(config: EvaluateConfig) -> Benchmark:
    return open_benchmark(required(config.evaluation).benchmarks[0], config)


def training(config: EvaluateConfig) -> EvaluateConfig:
    """Return the config with a training whose model is still to come."""
    recipe = {"base_model": "b", "train_file": "t.jsonl"}
    return config.model_copy(update={"training": TrainingConfig.model_validate(recipe)})


def benchmarks(folder: Path) -> list[dict[str, Any]]:
    """The benchmarks with a baseline, and the files of them."""
    write_lines(folder / "p.jsonl", [{"prompt": "P"}])
    row = {"question_id": 1, "category": "writing", "turns": ["P"]}
    write_lines(folder / "mt" / "question.jsonl", [row])
    write_lines(folder / "ah" / "question.jsonl", [{"uid": "q", "prompt": "P"}])
    (folder / "ah" / "judge.json").write_text(json.dumps({
        "system_prompt": "", "prompt_template": "{QUESTION}{ANSWER_A}{ANSWER_B}",
        "regex_patterns": [r"\[\[([AB<>=]+)\]\]"],
    }))  # fmt: skip
    grader = {"name": "g", "kind": "judge", "engine": {"kind": "openai", "model": "g"}}
    return [
        {"kind": "pairwise", "path": str(folder / "p.jsonl")},
        {"kind": "mt-bench", "path": str(folder / "mt"), "mode": "pairwise"},
        {"kind": "arena-hard", "path": str(folder / "ah")},
        {"kind": "reward-win-rate", "path": str(folder / "p.jsonl"), "reward_model": grader},
    ]


@pytest.mark.parametrize("place", range(4))
def test_a_baseline_is_found_or_refused_while_the_model_is_untrained(
    place: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    world, benchmark = World(monkeypatch, tmp_path, reply), benchmarks(tmp_path)[place]
    for name, found in (("b-trained", True), ("b", True), ("b-traind", False)):
        config = training(world.config(benchmark | {"baseline": name}, models=("m",)))
        models = expected(config, [BASE, *world.models(world.config(benchmark))])
        assert [m.name for m in models] == ["b-trained", "b", "m"]
        if found:
            opened(config).check(config, models)
            continue
        with pytest.raises(UserError, match="b-traind"):
            opened(config).check(config, models)


def test_the_answers_of_arena_hards_own_baseline_are_read_beforehand(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world = World(monkeypatch, tmp_path, reply)
    config = training(world.config(benchmarks(tmp_path)[2]))
    with pytest.raises(EvaluationError, match=r"model_answer/gpt-4-0314.jsonl: no such file"):
        opened(config).check(config, expected(config, [BASE]))


def test_nobody_else_has_the_name_of_the_model_that_is_trained(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world = World(monkeypatch, tmp_path, reply)
    config = training(world.config(benchmarks(tmp_path)[0]))
    twin = Candidate(name="b-trained", role="other", weights=None)
    with pytest.raises(ConfigError, match="'b-trained' is the name of the model that is trained"):
        expected(config, [BASE, twin])


def test_an_endpoint_that_is_down_and_a_missing_vllm_are_found_beforehand(tmp_path: Path) -> None:
    down = {"kind": "openai", "base_url": "http://127.0.0.1:1/v1", "model": "m", "max_retries": 0}
    config = config_of(tmp_path, [{"kind": "heldout-loss"}])
    far = Candidate.model_validate(
        {"name": "far", "role": "other", "weights": None, "engine": down}
    )
    no_vllm = {"kind": "vllm", "python": str(tmp_path / "none")}
    tools = tools_of(config)
    with pytest.raises(UserError, match=r"far.*127\.0\.0\.1:1"):
        check_all(engine_check.engines([far], {"far"}, tools))
    trained = Candidate.model_validate(
        {"name": "b-trained", "role": "trained", "weights": None, "engine": no_vllm}
    )
    with pytest.raises(ConfigError, match=r"b-trained.*python"):
        check_all(engine_check.engines([trained, BASE], {"b-trained"}, tools))
    assert engine_check.engines([far, BASE], set(), tools) == {}  # all answers are stored


def test_the_bill_counts_held_out_prompts_their_history_and_a_reward_models_verdicts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    engine = {"kind": "openai", "base_url": "http://127.0.0.1:1/v1", "price": PRICE}
    grader = {"name": "g", "kind": "judge", "engine": engine, "rubric": "{instruction}{answer}..",
              "sampling": {"max_tokens": 7}}  # fmt: skip
    benchmark = {"kind": "reward-win-rate", "reward_model": grader, "max_tokens": 5, "limit": 2}
    config = config_of(tmp_path, [benchmark])
    models = [Candidate.model_validate({"name": n, "role": "other", "weights": None,
                                        "engine": engine}) for n in ("m", "n")]  # fmt: skip
    one = ({"role": "user", "content": "x" * 40},)
    two = ({"role": "system", "content": "y" * 80}, {"role": "user", "content": "z" * 4})
    found = forecast.bills([opened(config)], models, tools_of(config), [one, two, one])
    answers = [b for b in found if b.what == "answers"]
    assert [(b.name, b.requests, b.prompt_tokens) for b in answers] == [
        ("m", 2, 10 + 21),
        ("n", 2, 10 + 21),
    ]
    [verdicts] = [b for b in found if b.what == "verdicts"]
    assert (verdicts.requests, verdicts.cached, verdicts.completion_tokens) == (4, 0, 4 * 7)
    # A rubric of 6 tokens, the prompts (with a line's end between messages), answers of 5.
    assert verdicts.prompt_tokens == 2 * (6 + 10 + 5) + 2 * (6 + 22 + 5)
    assert verdicts.money == pytest.approx((108 * 1_000 + 28 * 2_000) / 1e6)
    with pytest.raises(ConfigError, match=r"more than evaluation\.max_cost 0\.01"):
        forecast.refuse_above(found, 0.01)


HELD = "Which river runs through the old town of the city where the treaty was signed?"


def rows_in(folder: Path, *prompts: str) -> TrainingConfig:
    file = write_lines(folder / "train.jsonl", [
        {"messages": [{"role": "user", "content": p}, {"role": "assistant", "content": "a"}]}
        for p in prompts
    ])  # fmt: skip
    return TrainingConfig.model_validate({"base_model": "b", "train_file": str(file)})


def test_a_training_file_with_a_held_out_row_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("rensa")
    drawn = pl.DataFrame({"messages": [[{"role": "user", "content": HELD}]]})
    near = rows_in(tmp_path, "Something else.", f"  {HELD.upper()}", "And another thing.")
    with pytest.raises(ConfigError, match=r"1 of its 3 rows hold a held-out prompt.*line 2"):
        training_overlap.refuse_heldout(near, drawn)
    training_overlap.refuse_heldout(rows_in(tmp_path, "Something else.", "Another."), drawn)


def test_a_dry_run_looks_for_held_out_rows_in_the_training_file(tmp_path: Path) -> None:
    pytest.importorskip("rensa")
    rows = [{"id": str(i), "instruction": text} for i, text in enumerate((HELD, "Else.", "More."))]
    write_lines(tmp_path / "data.jsonl", rows)
    (tmp_path / "held.txt").write_text("0")

    def config(heldout: dict[str, Any], *prompts: str) -> FinetuneConfig:
        training, data = rows_in(tmp_path, *prompts), str(tmp_path / "data.jsonl")
        return FinetuneConfig.model_validate(
            {"dataset": data, "heldout": heldout, "training": training}
        ).resolved()

    listed = {"file": str(tmp_path / "held.txt"), "answers": "best"}
    check_train_file(config(listed, "Something.", "Else."))
    with pytest.raises(ConfigError, match="1 of its 2 rows hold a held-out prompt"):
        check_train_file(config(listed, "Something.", HELD))
    with pytest.raises(SelectionError, match=r"share 1e-09: none of the 3 rows of .* is held out"):
        check_train_file(config({"share": 1e-9}, "Something."))
    write_lines(tmp_path / "data.jsonl", [{"id": "0", "ant": {"content": "No prompt.", "r": 1.0}}])
    with pytest.raises(DatasetError, match="has no instruction texts, and rows are held out by"):
        check_train_file(config({"share": 0.5}, "Something."))


def test_a_run_compares_the_training_file_whatever_its_benchmarks_ask_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[EvaluateConfig] = []
    drawn = Ref(stage="heldout", key="k", rows=1)

    def check_file(config: EvaluateConfig) -> list[Ref]:
        found.append(config)
        return [drawn]

    monkeypatch.setattr(evaluate, "check_file", check_file)
    keys = {"dataset": {"path": "d.jsonl"}, "heldout": {"share": 0.5}}
    plain = config_of(tmp_path, [{"kind": "lm-eval", "tasks": "t"}], **keys)
    config = training(plain).resolved()
    assert not config.needs_heldout
    assert (evaluate.heldout(config, None), found) == ([drawn], [config])
    given = plain.model_copy(update={"model": "m"}).resolved()  # nothing is trained
    assert (evaluate.heldout(given, None), len(found)) == ([], 1)


def test_training_rows_that_overlap_a_benchmark_are_counted() -> None:
    questions = [
        Question("q1", (HELD, "Again."), 0.0, 1),
        Question("q2", ("What is the longest word of ten letters now?",), 0.0, 1,
                 history=(("system", "s"), ("user", "Hello."))),
    ]  # fmt: skip
    prompts = training_overlap.turns_of(questions)
    assert prompts == [HELD, "Again.", "Hello.", "What is the longest word of ten letters now?"]
    texts = [f"Tell me: {HELD}", "Say: what is the longest word of ten letters now? Please.", "No."]
    [note] = training_overlap.overlap_notes(texts, [("mt", prompts), ("other", ["Nothing here."])])
    assert note.startswith("mt: 2 of 3 training rows overlap 2 of its 4 prompts (13 words in a row")


@pytest.mark.parametrize("place", range(3))
def test_stored_verdicts_are_not_billed_again_while_the_model_is_untrained(
    place: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    world = World(
        monkeypatch, tmp_path, lambda name, messages: "[[A]]" if name == "judge" else name
    )
    benchmark = benchmarks(tmp_path)[place] | {"baseline": "n"}
    config = world.config(benchmark, models=("m", "n"), calibration=0)
    world.run(config)
    [judged] = verdicts_of(world, config, world.models(config))
    assert (judged.requests, judged.cached) == (0, 2)
    pending = training(config)
    [judged] = verdicts_of(world, pending, [BASE, *world.models(config)])
    assert (judged.requests, judged.cached) == (4, 2)  # of the trained model and its base
    [judged] = verdicts_of(world, training(world.config(
        benchmark | {"baseline": "b-trained"}, models=("m", "n"), calibration=0
    )), [BASE, *world.models(config)])  # fmt: skip
    assert (judged.requests, judged.cached) == (6, 0)


def verdicts_of(world: World, config: EvaluateConfig, models: list[Candidate]) -> list[Any]:
    found = forecast.bills([opened(config)], models, world.tools(config))
    return [b for b in found if b.what == "verdicts"]


@pytest.mark.model
def test_the_model_that_is_stored_is_found_before_the_training(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "base").mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (tmp_path / "base" / name).write_text("{}")
    recipe = rows_in(tmp_path, "A prompt.").model_copy(
        update={"base_model": str(tmp_path / "base"), "command": "true {output_dir}"}
    )
    monkeypatch.setenv("CROWDSELECT_ALLOW_COMMANDS", "1")
    config = config_of(tmp_path, [{"kind": "heldout-loss"}], training=recipe)

    def story(config: SelectConfig, run: Runner) -> Ref:
        raise AssertionError("nothing is selected")

    assert stored_model(config, story) is None
    made = own_trainer.prepare(recipe, base_model(recipe), file_rows(str(recipe.train_file)))
    artifact = build(Store(config.store), made.spec, single(lambda: ShardResult(pl.DataFrame())))
    assert stored_model(config, story) == artifact.key
    assert stored_model(config.model_copy(update={"model": "x"}), story) is None


@pytest.mark.model
def test_an_adapter_that_nothing_can_run_is_refused_beforehand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = config_of(tmp_path, [{"kind": "heldout-loss"}])
    recipe = {"base_model": "b", "train_file": "t.jsonl", "peft": "lora"}
    config = plain.model_copy(update={"training": TrainingConfig.model_validate(recipe)})
    told = required(config.evaluation).model_copy(update={"adapter": "lora"})
    lora = config.model_copy(update={"evaluation": told})
    given = Candidate(name="a", role="other", weights="sha256:2", source=Source(model="a"),
                      base=Source(model="b"))  # fmt: skip
    models = expected(config, [BASE, given])
    for name in ("b-trained", "a"):
        with pytest.raises(ConfigError, match=f"{name}.*adapter: lora needs the engine vllm"):
            engine_check.engines(models, {name}, tools_of(lora))
    assert list(engine_check.engines(models, {"a"}, tools_of(config))) == ["a"]
    monkeypatch.setattr(engine_check, "find_spec", lambda name: None)
    for name in ("b-trained", "a"):
        with pytest.raises(ConfigError, match=rf"{name}.*-e '\.\[finetune\]'"):
            engine_check.engines(models, {name}, tools_of(config))


def test_a_reward_models_judge_that_is_down_is_found_beforehand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    down = {"kind": "openai", "base_url": "http://127.0.0.1:1/v1", "model": "m", "max_retries": 0}
    grader = {"name": "g", "kind": "judge", "engine": down}
    benchmark = {"kind": "reward-win-rate", "reward_model": grader}
    config = config_of(tmp_path, [benchmark])
    found = engine_check.graders([opened(config)], {"reward-win-rate"}, tools_of(config))
    with pytest.raises(UserError, match=r"127\.0\.0\.1:1"):
        found["reward-win-rate"].check()
    assert engine_check.graders([opened(config)], set(), tools_of(config)) == {}
