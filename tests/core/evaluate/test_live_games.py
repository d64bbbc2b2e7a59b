"""Arena-Hard and your own prompts with live models: both games, hand-derived win rates, files."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from judged import board, cells
from judges import World, text_of, values, write_lines

from crowdselect_core.chat import Message
from crowdselect_core.errors import EvaluationError

SHARED = Path(__file__).parents[4] / "shared" / "data" / "arena_hard_v0.1"
PROMPT = {
    "system_prompt": "Judge.",
    "prompt_template": "{QUESTION}|{ANSWER_A}|{ANSWER_B}",
    "regex_patterns": [r"\[\[([AB<>=]+)\]\]", r"\[([AB<>=]+)\]"],
}


def arena(folder: Path, questions: Sequence[dict[str, Any]], baseline: str, key: str) -> Path:
    """Write a folder of Arena-Hard with the answers of a baseline."""
    write_lines(folder / "question.jsonl", questions)
    rows = [
        {key: q[key], "model": baseline,
         "messages": [{"role": "user", "content": q["prompt"]},
                      {"role": "assistant", "content": {"answer": "base"}}]}
        for q in questions
    ]  # fmt: skip
    write_lines(folder / "model_answer" / f"{baseline}.jsonl", rows)
    (folder / "judge.json").write_text(json.dumps(PROMPT))
    return folder


V01 = [{"uid": f"q{i}", "category": "arena-hard-v0.1", "prompt": f"P{i}"} for i in range(4)]
# What the judge says of (question, whether A is the baseline).
LABELS = {
    ("P0", True): "B>>A", ("P0", False): "A>B",  # the model wins both: 3 battles and 1
    ("P1", True): "A=B", ("P1", False): "B>A",  # a tie and a loss
    ("P2", True): "A>B", ("P2", False): "B>A",  # two losses
    ("P3", True): "A>B or [[B>A]] and [[A>B]]", ("P3", False): "A=B",  # unclear; a tie
}  # fmt: skip


def labelled(name: str, messages: Sequence[Message]) -> str | None:
    if not name.startswith("judge"):
        return "mine"
    question, answer_a, _ = text_of(messages).split("|")
    label = LABELS[question, answer_a == "base"]
    return f"So [[{label}]]." if "[[" not in label else label


def test_arena_hard_by_hand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = arena(tmp_path / "ah", V01, "gpt-4-0314", "uid")
    world = World(monkeypatch, tmp_path, labelled)
    found = world.run(world.config({"kind": "arena-hard", "path": str(folder)}))
    # battles: 3 + 1 won, a tie and a loss, two losses, a tie: (4 + 0.5 + 0.5) / (4 + 2 + 2 + 1)
    assert values(found, "value", "n", "unparsed")["win_rate", "m"] == (
        pytest.approx(100 * 5 / 9), 7, 1,
    )  # fmt: skip
    assert values(found, "value")["win_rate", "gpt-4-0314"] == 50.0
    assert ("win_rate_style_controlled", "m") in values(found, "value")
    again = board(tmp_path / "out" / "arena-hard", "arena-hard")
    columns = ("value", "low", "high", "n", "unparsed")
    assert cells(again, *columns) == values(found, *columns)
    asked = [r for name, r in world.asked if name == "m"]
    assert {(r.temperature, r.max_tokens) for r in asked} == {(0.0, 4096)}


V2 = [
    {"uid": "a", "category": "hard_prompt", "prompt": "P0"},
    {"uid": "b", "category": "creative_writing", "prompt": "P2"},
]


def test_version_2_against_a_model_that_is_evaluated(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = arena(tmp_path / "ah", V2, "x", "uid")

    def reply(name: str, messages: Sequence[Message]) -> str | None:
        return "base" if name == "b" else labelled(name, messages)

    world = World(monkeypatch, tmp_path, reply)
    config = {"kind": "arena-hard", "path": str(folder), "version": "v2", "baseline": "b"}
    found = world.run(world.config(config, models=("m", "b")))
    # (3 + 1) wins and two losses: 4 / 6
    assert values(found, "value")["win_rate", "m"] == pytest.approx(100 * 4 / 6)
    assert {r.category for r in found.results} == {None, "hard_prompt", "creative_writing"}
    again = board(tmp_path / "out" / "arena-hard", "arena-hard")
    assert cells(again, "value", "low") == values(found, "value", "low")
    row = json.loads(
        next((tmp_path / "out").rglob("model_judgment/judge/m.jsonl")).open().readline()
    )
    assert (row["uid"], row["baseline"]) == ("a", "b")
    assert row["games"][0]["judgment"] == {"answer": "So [[B>>A]]."}


def test_version_2_reads_the_last_label_and_needs_both_games(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = arena(tmp_path / "ah", V2, "b", "uid")

    def reply(name: str, messages: Sequence[Message]) -> str:
        if name != "judge":
            return "mine"
        question, first, _ = text_of(messages).split("|")
        if question == "P2":
            return "no label" if first == "base" else "[[A>B]]"
        return "[[A>B]], no: [[b>a]]" if first == "base" else "[A>B]"

    world = World(monkeypatch, tmp_path, reply)
    config = {"kind": "arena-hard", "path": str(folder), "version": "v2", "baseline": "b"}
    found = world.run(world.config(config))
    assert values(found, "value", "n", "unparsed")["win_rate", "m"] == (100.0, 2, 1)


def test_folders_of_another_version_and_missing_baselines(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world = World(monkeypatch, tmp_path, labelled)
    folder = arena(tmp_path / "ah", V01, "gpt-4-0314", "uid")
    config = {"kind": "arena-hard", "path": str(folder)}
    with pytest.raises(EvaluationError, match=r"line 1: is of category .* version v2; set version"):
        world.run(world.config(config | {"version": "v2"}))
    with pytest.raises(EvaluationError, match=r"model_answer/x.jsonl: no such file"):
        world.run(world.config(config | {"baseline": "x"}))
    answers = folder / "model_answer" / "gpt-4-0314.jsonl"
    answers.write_text("".join(answers.read_text().splitlines(keepends=True)[:2]))
    with pytest.raises(EvaluationError, match="has no answer to 2 questions: q2, q3"):
        world.run(world.config(config))
    (folder / "judge.json").write_text(json.dumps(PROMPT | {"prompt_template": "{QUESTION}"}))
    with pytest.raises(EvaluationError, match=r"has no \{ANSWER_A\}"):
        world.run(world.config(config))


@pytest.mark.skipif(not SHARED.exists(), reason="shared/data/arena_hard_v0.1 is not here")
def test_the_real_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def second(name: str, messages: Sequence[Message]) -> str:
        return "My final verdict is tie: [[A=B]]" if name == "judge" else "an answer"

    world = World(monkeypatch, tmp_path, second)
    found = world.run(world.config({"kind": "arena-hard", "path": str(SHARED), "limit": 20}))
    assert values(found, "value", "low", "high", "n")["win_rate", "m"] == (50.0, 50.0, 50.0, 40)


PROMPTS = [
    {"id": "a", "prompt": "P0", "category": "x"},
    {
        "id": "b",
        "messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "P1"}],
    },
    {"instruction": "P2"},
]


def test_pairwise_by_hand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "prompts.jsonl", PROMPTS)

    def reply(name: str, messages: Sequence[Message]) -> str:
        text = text_of(messages)
        if name != "judge":
            return f"answer of {name}"
        first_is_mine = text.index("answer of m") < text.index("answer of b")
        if "P0" in text:
            return "Verdict: [[A]]" if first_is_mine else "Verdict: [[B]]"  # m wins both
        if "P1" in text:
            return "Verdict: [[A]]" if first_is_mine else "Verdict: [[C]]"  # a win and a tie
        return "Verdict: [[A]]" if first_is_mine else "I cannot say."  # one cannot be read

    world = World(monkeypatch, tmp_path, reply)
    config = {"kind": "pairwise", "path": str(path), "baseline": "b"}
    found = world.run(world.config(config, models=("m", "b")))
    # (1 + 0.75) / 2 over the two questions that can be read
    assert values(found, "value", "n", "unparsed") == {("win_rate", "m"): (0.875, 4, 1)}
    again = board(tmp_path / "out" / "pairwise", "pairwise", baseline="b")
    columns = ("value", "low", "high", "n", "unparsed")
    assert cells(again, *columns) == values(found, *columns)
    asked = [r for name, r in world.asked if name == "m"]
    assert asked[1].messages[0] == {"role": "system", "content": "S"}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ({"text": "p"}, "expected one of the keys messages, prompt and instruction"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "no user turn"),
        ({"id": "a", "prompt": ""}, "no instruction text"),
    ],
)
def test_prompts_that_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, line: dict[str, Any], why: str
) -> None:
    path = write_lines(tmp_path / "prompts.jsonl", [line])
    world = World(monkeypatch, tmp_path, labelled)
    with pytest.raises(EvaluationError, match=why):
        world.run(world.config({"kind": "pairwise", "path": str(path), "baseline": "b"}))
