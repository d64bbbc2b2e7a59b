"""lm-eval's tasks on what an engine answers: IFEval by hand, and nothing asked twice."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from evaluated import config_of, tools_of
from judges import World, text_of, write_lines
from tinymodel import write_tiny

from crowdselect_core.chat import Message
from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.errors import ConfigError, EvaluationError
from crowdselect_core.evaluate.benchmarks.factory import open_benchmark
from crowdselect_core.evaluate.benchmarks.lm_eval import LmEval
from crowdselect_core.evaluate.candidates import Candidate
from crowdselect_core.evaluate.lm_eval_answers import EngineAnswers, cut, sampling_of
from crowdselect_core.evaluate.sources import Source
from crowdselect_core.models.hub import model_identity

IFEVAL = Path(__file__).parents[3].parent / "shared" / "data" / "ifeval" / "input_data.jsonl"
# The first prompts of IFEval, by a part of each, and answers of which is known what they follow.
ANSWERS = {
    "Raymond_III": "*one* *two* *three* " + "word " * 310,  # all three: no comma, 3 marks, length
    "trip to Japan": "Hie thee, friend.",  # a comma: it does not
    "12 placeholder": " ".join(f"[{n}]" for n in range(12)),  # it does
    "I am quitting": "<<Farewell>> I quit.",  # the title, and not the request repeated
    "Two young boys": "do the two young boys have toy guns and horns in their hands?",  # it does
}
RESULTS = {  # prompts: 1, 3 and 5 of 5; instructions: 3 + 0 + 1 + 1 + 1 of 3 + 1 + 1 + 2 + 1
    "ifeval/prompt_level_strict_acc": 0.6,
    "ifeval/inst_level_strict_acc": 0.75,
    "ifeval/prompt_level_loose_acc": 0.6,
    "ifeval/inst_level_loose_acc": 0.75,
}


@pytest.fixture
def ifeval(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """IFEval's benchmark without a hub: its prompts, and NLTK's data of a package that has it."""
    pytest.importorskip("lm_eval")
    pytest.importorskip("langdetect")
    found = importlib.util.find_spec("llama_index")
    folders = list(found.submodule_search_locations or ()) if found else []
    nltk = next((p for f in folders for p in Path(f).glob("core/_static/nltk_cache")), None)
    if nltk is None or not IFEVAL.is_file():
        pytest.skip("needs ../shared/data/ifeval and llama-index-core")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return {
        "kind": "lm-eval", "tasks": "ifeval",
        "data_files": {"ifeval": str(IFEVAL)}, "nltk_data": str(nltk),
    }  # fmt: skip


@pytest.mark.model
def test_ifeval_of_an_endpoint_and_nothing_is_asked_twice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ifeval: dict[str, Any]
) -> None:
    down = ["Two young boys"]

    def reply(name: str, messages: Sequence[Message]) -> str | None:
        assert [m["role"] for m in messages] == ["user"]
        return next(
            (text for part, text in ANSWERS.items()
             if part in text_of(messages) and part not in down), None,
        )  # fmt: skip

    world = World(monkeypatch, tmp_path, reply)
    config = world.config({**ifeval, "limit": 5}, judges=())
    with pytest.raises(EvaluationError, match=r"m: 1 of 5 answers are missing"):
        world.run(config)
    assert len(world.asked) == 5
    assert {(r.temperature, r.max_tokens) for _, r in world.asked} == {(0.0, 1280)}
    benchmark, tools = opened(config), world.tools(config)
    assert benchmark.asked(world.models(config), tools) == ["m"]
    down.clear()
    outcome = world.run(config)
    assert len(world.asked) == 6
    assert {r.metric: r.value for r in outcome.results} == pytest.approx(RESULTS)
    assert {(r.model, r.n) for r in outcome.results} == {("m", 5)}
    assert world.run(config).results == outcome.results
    assert len(world.asked) == 6
    assert benchmark.asked(world.models(config), tools) == []


@pytest.mark.slow
@pytest.mark.model
def test_ifeval_of_weights_by_transformers_and_by_their_engine(
    tmp_path: Path, ifeval: dict[str, Any]
) -> None:
    tiny = write_tiny(tmp_path / "model", max_position_embeddings=2048)
    model = Candidate(
        name="tiny", role="other", weights=model_identity(str(tiny)), source=Source(model=str(tiny))
    )
    found = []
    for use_engine in (False, True):
        keys = {"limit": 2, "gen_kwargs": {"max_gen_toks": 4}, "use_engine": use_engine}
        config = config_of(tmp_path, [{**ifeval, **keys}])
        outcome = opened(config).run([model], tools_of(config))
        assert {r.metric for r in outcome.results} == set(RESULTS)
        found.append([(r.metric, r.value, r.n) for r in outcome.results])
    assert found[0] == found[1]  # the likeliest tokens, however they are found


def test_a_task_that_wants_likelihoods_of_an_endpoint_is_refused_before_it_is_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("lm_eval")
    monkeypatch.setenv("CROWDSELECT_ALLOW_COMMANDS", "1")
    data = write_lines(tmp_path / "data.jsonl", [{"q": "A", "choices": ["a", "b"], "answer": 0}])
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "choice.yaml").write_text(
        f"task: choice\ndataset_path: json\ndataset_kwargs: {{data_files: {{test: {data}}}}}\n"
        "test_split: test\noutput_type: multiple_choice\ndoc_to_text: '{{q}}'\n"
        "doc_to_choice: '{{choices}}'\ndoc_to_target: '{{answer}}'\n"
    )
    world = World(monkeypatch, tmp_path, lambda name, messages: "a")
    benchmark = {"kind": "lm-eval", "tasks": "choice", "include_path": str(tmp_path / "tasks")}
    with pytest.raises(EvaluationError, match=r"m: lm-eval task choice: needs log-likelihoods"):
        world.run(world.config(benchmark, judges=()))
    assert world.asked == []


def test_an_unknown_bill_is_refused_where_it_has_a_limit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("lm_eval")
    world = World(monkeypatch, tmp_path, lambda name, messages: "a")
    benchmark = {"kind": "lm-eval", "tasks": "gsm8k"}
    config = world.config(benchmark, judges=(), max_cost=5)
    with pytest.raises(ConfigError, match=r"how much m is asked is not known beforehand"):
        opened(config).check(config, world.models(config))
    config = world.config(benchmark, judges=())
    opened(config).check(config, world.models(config))


def test_prompts_of_files_that_only_the_task_can_read_are_not_known(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world = World(monkeypatch, tmp_path, lambda name, messages: "a")
    usual = write_lines(tmp_path / "usual.jsonl", [{"question": "What is it?"}])
    own = write_lines(tmp_path / "own.jsonl", [{"ctx": "A man sits", "endings": ["a", "b"]}])
    for file, found in ((usual, ["What is it?"]), (own, None)):
        benchmark = {"kind": "lm-eval", "tasks": "t", "data_files": {"t": str(file)}}
        assert opened(world.config(benchmark, judges=())).file_prompts() == found


def test_an_answer_that_is_refused_for_good_is_empty_up_to_the_failure_rate(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said: dict[str, str | None] = {"good": "yes", "filtered": "a\0b", "down": None}
    world = World(monkeypatch, tmp_path, lambda name, messages: said[text_of(messages)])
    config = world.config({"kind": "lm-eval", "tasks": "t"}, judges=())
    (model,), tools = world.models(config), world.tools(config)

    def ask(*prompts: str) -> list[str | None]:
        requests = [
            {"messages": [{"role": "user", "content": text}], "sampling": {}} for text in prompts
        ]
        return EngineAnswers("b", model, tools, lambda calls: None)(requests)

    assert ask("good", "filtered") == ["yes", None]  # max_failure_rate 0.5
    for prompts, words in (
        (("good", "down"), r"1 of 2 answers are missing \(calls failed\);.*: run it again"),
        (("good", "filtered", "good", "down"), r"2 of 4 .*\(calls failed\);.*: run it again"),
        (
            ("filtered",),
            r"1 of 1 .*\(nul_byte: .*1 of these were refused.*max_failure_rate \(0.5\)",
        ),
    ):
        with pytest.raises(EvaluationError, match=words):
            ask(*prompts)


@pytest.mark.model
def test_a_refused_answer_is_scored_as_an_empty_one_and_counted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ifeval: dict[str, Any]
) -> None:
    refused = "Two young boys"  # else right, one of the one instruction of its prompt
    world = World(monkeypatch, tmp_path, lambda name, messages: next(
        "a\0b" if part == refused else text
        for part, text in ANSWERS.items() if part in text_of(messages)
    ))  # fmt: skip
    config = world.config({**ifeval, "limit": 5}, judges=())
    for _ in range(2):  # measured, then stored
        outcome = world.run(config)
        found = {r.metric: (r.value, r.n, r.unparsed) for r in outcome.results}
        assert found["ifeval/prompt_level_strict_acc"] == (pytest.approx(0.4), 5, 1)
        assert found["ifeval/inst_level_strict_acc"] == (pytest.approx(5 / 8), 5, 1)
        assert outcome.notes == [
            "lm-eval: m: 1 answers of ifeval (n 5) were refused for good and count as empty ones"
        ]
    assert len(world.asked) == 5


def test_generation_arguments_become_a_sampling() -> None:
    given = {"until": ["Q:", "</s>", "A", "B", "C"], "temperature": 0.7, "top_k": -1}
    sampling, stops = sampling_of("b", {**given, "do_sample": False, "max_gen_toks": 9})
    assert (sampling.temperature, sampling.max_tokens, sampling.top_k) == (0.0, 9, None)
    assert (sampling.stop, stops[-1]) == (["Q:", "</s>", "A", "B"], "C")
    sampling, _ = sampling_of("b", {"do_sample": True, "temperature": 0.7, "top_p": 0.9})
    assert (sampling.temperature, sampling.top_p, sampling.max_tokens) == (0.7, 0.9, 256)
    sampling, _ = sampling_of("b", {"do_sample": True, "max_completion_tokens": 8})
    assert (sampling.temperature, sampling.max_tokens) == (1.0, 8)
    assert sampling_of("b", {})[0].temperature == 0.0
    with pytest.raises(EvaluationError, match="b: the engine takes no generation argument 'beams'"):
        sampling_of("b", {"beams": 3})
    with pytest.raises(EvaluationError, match="b: generation argument top_p"):
        sampling_of("b", {"top_p": 7})
    assert cut("a b C d", ["C", "b "]) == "a "
    assert cut("a", ["C"]) == "a"


def opened(config: EvaluateConfig) -> LmEval:
    """Return the only benchmark of a config."""
    assert config.evaluation is not None
    benchmark = open_benchmark(config.evaluation.benchmarks[0], config)
    assert isinstance(benchmark, LmEval)
    return benchmark
