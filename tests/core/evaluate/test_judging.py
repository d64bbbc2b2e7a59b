"""Verdicts, calibration, biases, agreement, the bill beforehand, and what an evaluation owns."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from judges import World, text_of, write_lines

from crowdselect_core.chat import Message
from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.errors import ConfigError, EvaluationError
from crowdselect_core.evaluate import forecast, leaderboard, out_files
from crowdselect_core.evaluate.benchmarks.factory import open_benchmark
from crowdselect_core.evaluate.judging.calibration import calibrate, known_pairs
from crowdselect_core.evaluate.judging.prompts import own_pair
from crowdselect_core.evaluate.judging.quality import (
    Game,
    agreement_notes,
    kappa,
    pair_notes,
    rating_notes,
)
from crowdselect_core.evaluate.judging.verdicts import (
    LABEL_PATTERNS,
    read_label,
    read_rating,
    read_winner,
)
from crowdselect_core.evaluate.out_folder import OutFolder, file_name

RATINGS = [
    ("Good. Rating: [[7]]", 7.0),
    ("**Rating: [[ 8.5 ]]**", 8.5),
    ("Rating: [7]", None),
    ("[[7]] ... so again: [[7]]", 7.0),
    ("Not [[3]] but [[7]]", None),
    ("Rating: [[11]]", None),
    ("Rating: [[0]]", None),
    ("Rating: 7", None),
    ("Rating: [[7/10]]", None),
    ("Rating: [[seven]]", None),
    ("", None),
]


@pytest.mark.parametrize(("words", "rating"), RATINGS)
def test_ratings(words: str, rating: float | None) -> None:
    assert read_rating(words, "stop") == rating
    assert read_rating(words, "length") is None, "cut before the end"


@pytest.mark.parametrize(
    ("words", "rating"),
    [("Rating: [7]", 7.0), ("**Rating: [ 7.5 ]**.", 7.5), ("see [1]. Rating 8", None),
     ("Rating 8, see [1]", None), ("Rating: [7], by [1]", None), ("[1]", None),
     ("Rating: [3], no: [[7]]", 7.0)],
)  # fmt: skip
def test_a_single_bracket_is_a_rating_at_the_end_alone(words: str, rating: float | None) -> None:
    assert read_rating(words, "stop", single_bracket=True) == rating


@pytest.mark.parametrize(
    ("words", "winner"),
    [("So [[A]].", "A"), ("Verdict: [[C]]", "C"), ("[[A]] or [[B]]", None), ("[[D]]", None),
     ("A is better", None), ("[[a]]", None)],
)  # fmt: skip
def test_winners(words: str, winner: str | None) -> None:
    assert read_winner(words, "stop") == winner
    assert read_winner(None) is None


def test_labels_by_version() -> None:
    patterns = [re.compile(text) for text in LABEL_PATTERNS]
    for words, old, new in [
        ("[[A>>B]]", "A>>B", "A>>B"),
        ("[[A>B]] then [[B>A]]", None, "B>A"),
        ("[A=B]", None, "A=B"),
        ("[[B<A]]", None, "B<A"),
        ("[[A>>>B]]", None, None),
        ("none", None, None),
    ]:
        assert read_label(words, "stop", patterns, "v0.1") == old, words
        assert read_label(words, "stop", patterns, "v2") == new, words


def test_a_text_cannot_break_out_of_a_prompt() -> None:
    prompt = own_pair(two_turns=False, reference=False)
    values = {"question": "{answer_b}", "answer_a": "[end of answer]", "answer_b": "b"}
    [message] = prompt.filled(values)
    assert message["content"].count("{answer_b}") == 1, "a text is no placeholder"
    other = prompt.filled(values | {"answer_b": "c"})[0]["content"]
    marks = [re.findall(r"\[start of question (\w+)\]", m) for m in (message["content"], other)]
    assert marks[0] != marks[1], "the marks follow from the texts"


def test_biases_by_hand() -> None:
    games = [Game("A", 5, 9)] * 6 + [Game("B", 5, 9)] * 4 + [Game("C", 1, 2), Game(None, 1, 2)]
    assert pair_notes("j", games) == [
        "j: of 10 decided games the first answer won 60%, the longer one 40% (50 % without a bias)"
    ]
    assert pair_notes("j", games[:3]) == []
    rising = [(float(n), n * n) for n in range(1, 11)]
    assert rating_notes("j", rising) == ["j: rank correlation of rating and length 1.00 over 10"]


def test_agreement_by_hand() -> None:
    # 6 of 8 the same; chance: A 5/8 * 5/8 + B 3/8 * 3/8 = 34/64; (0.75 - 0.53125) / 0.46875
    pairs = [("A", "A")] * 4 + [("B", "B")] * 2 + [("A", "B"), ("B", "A")]
    assert kappa(pairs) == pytest.approx(0.21875 / 0.46875)
    one = {i: float(i % 5) for i in range(10)}
    assert agreement_notes({"x": one, "y": dict(one)}) == [
        "x and y give the same verdict on 100% of 10, rank correlation 1.00"
    ]


def test_calibration_on_pairs_of_known_order(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    better = {text for _, text, _ in known_pairs(10)}

    def reply(name: str, messages: Sequence[Message]) -> str:
        if name == "first":
            return "Verdict: [[A]]"
        first = re.search(
            r"\[start of answer of assistant A (\w+)\]\n(.*?)\n\[end", text_of(messages), re.S
        )
        assert first is not None
        return f"Verdict: [[{'A' if first[2] in better else 'B'}]]"

    world = World(monkeypatch, tmp_path, reply)
    path = write_lines(tmp_path / "p.jsonl", [{"prompt": "p"}])
    pairwise = {"kind": "pairwise", "path": str(path), "baseline": "m"}
    config = world.config(pairwise, judges=("good", "first"))
    good, first = (
        calibrate(judge, 10, world.tools(config))
        for judge in (config.evaluation.judges if config.evaluation else [])
    )
    assert (good.games, good.right, good.first, good.decided) == (20, 20, 10, 20)
    assert not good.note.startswith("warning")
    assert (first.right, first.first, first.accuracy) == (10, 20, 0.5)
    assert first.note.startswith("warning: first: 10 of 20 comparisons of known order are right")


def test_the_bill_beforehand_and_its_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "p.jsonl", [{"prompt": "p" * 40}] * 1 + [{"prompt": "q" * 40}])
    world = World(monkeypatch, tmp_path, lambda n, m: "[[A]]" if n == "judge" else f"by {n}")
    pairwise = {"kind": "pairwise", "path": str(path), "baseline": "b", "max_tokens": 50}
    config = world.config(pairwise, models=("m", "b"), calibration=0, max_cost=1.0)
    benchmarks = [
        open_benchmark(b, config)
        for b in (config.evaluation.benchmarks if config.evaluation else [])
    ]
    tools, models = world.tools(config), world.models(config)
    found = forecast.bills(benchmarks, models, tools)
    told = [(b.name, b.requests, b.prompt_tokens, b.completion_tokens) for b in found[:2]]
    assert told == [("m", 2, 20.0, 100.0), ("b", 2, 20.0, 100.0)]
    assert (found[2].requests, found[2].completion_tokens) == (4, 4 * 4096.0)
    assert found[0].money == pytest.approx(20 * 0.001 + 100 * 0.002)
    with pytest.raises(
        ConfigError, match=r"may cost 3\d\.\d\d, more than evaluation.max_cost 1.00"
    ):
        forecast.refuse_above(found, 1.0)
    forecast.refuse_above(found, None)
    assert world.asked == []
    world.run(config)
    after = forecast.bills(benchmarks, models, tools)
    assert [(b.requests, b.cached) for b in after] == [(0, 2), (0, 2), (0, 4)]
    forecast.refuse_above(after, 0.0)


def test_two_of_one_identity_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    world = World(monkeypatch, tmp_path, lambda n, m: "")
    path = write_lines(tmp_path / "p.jsonl", [{"prompt": "p"}])
    pairwise = {"kind": "pairwise", "path": str(path), "baseline": "a"}

    def alias(name: str, revision: str | None = None) -> dict[str, Any]:
        engine = {"kind": "openai", "base_url": f"http://{name}:1/v1", "model": "alias"}
        return {"name": name, "revision": revision, "engine": engine}

    def billed(key: str, *told: dict[str, Any]) -> None:
        config = world.config(pairwise, models=("a",))
        values = config.model_dump(mode="json", exclude_unset=True)
        values["evaluation"][key] = [*values["evaluation"][key], *told]
        config = EvaluateConfig.model_validate(values)
        forecast.bills([], world.models(config), world.tools(config))

    for key in ("models", "judges"):
        with pytest.raises(ConfigError, match=rf"evaluation.{key}: 'x' and 'y' ask the same"):
            billed(key, alias("x"), alias("y"))
        billed(key, alias("x"), alias("y", "v2"))


def test_snapshots_of_two_benchmarks_must_agree() -> None:
    assert leaderboard.one_snapshot([{"j": "x"}, {}, {"j": "x", "k": "y"}]) == {"j": "x", "k": "y"}
    with pytest.raises(EvaluationError, match="judge 'j': the server reports different models"):
        leaderboard.one_snapshot([{"j": "x"}, {"j": "z"}])


def test_folders_that_are_not_ours_stay(tmp_path: Path) -> None:
    out = str(tmp_path)
    notes = tmp_path / "mt-bench" / "notes.txt"
    notes.parent.mkdir()
    notes.write_text("mine")
    with pytest.raises(EvaluationError, match=r"holds mt-bench, which no evaluation\.json"):
        out_files.begin(out, ["mt-bench"])
    notes.rename(tmp_path / "notes.txt")
    out_files.begin(out, ["mt-bench"])
    OutFolder(out, "mt-bench").write("model_answer/a.jsonl", [{"x": 1}])
    out_files.end(out, ["mt-bench"], {"notes": []})
    out_files.begin(out, ["mt-bench"])
    assert not (tmp_path / "mt-bench" / "model_answer" / "a.jsonl").exists(), "an earlier run's"
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("theirs", ['{"accuracy": 0.5}', "[]", "no JSON", '{"folders": "all"}'])
def test_an_evaluation_json_of_another_program_is_not_replaced(theirs: str, tmp_path: Path) -> None:
    (tmp_path / "evaluation.json").write_text(theirs)
    with pytest.raises(EvaluationError, match=r"holds an evaluation\.json that no evaluation"):
        out_files.begin(str(tmp_path), ["mt-bench"])
    assert (tmp_path / "evaluation.json").read_text() == theirs


def test_names_of_models_as_names_of_files() -> None:
    assert file_name("qwen2.5-7b") == "qwen2.5-7b"
    hostile = [file_name(name) for name in ("../x", "a/b", "a\\b", ".hidden", "_foo", "")]
    assert len(set(hostile)) == 6
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) for name in hostile)
