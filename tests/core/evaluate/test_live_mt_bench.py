"""MT-Bench with live models: hand-derived results, what is asked once, what is written."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from judged import board, cells
from judges import World, text_of, values, write_lines

from crowdselect_core.chat import Message
from crowdselect_core.config.evaluation import required
from crowdselect_core.errors import ConfigError, EvaluationError
from crowdselect_core.evaluate.benchmarks.factory import open_benchmark
from crowdselect_core.evaluate.judging.calibration import prompts
from crowdselect_core.evaluate.judging.judge import Judge
from crowdselect_core.generate.call_tracker import TooManyFailures

QUESTIONS = [
    {"question_id": 1, "category": "writing", "turns": ["Write A.", "Again."]},
    {"question_id": 2, "category": "math", "turns": ["What is 2+2?", "Plus 1?"]},
]
REFERENCE = {"question_id": 2, "model_id": "r", "choices": [{"index": 0, "turns": ["4", "5"]}]}
GRADES = {"Write A.": 8, "Again.": 6, "What is 2+2?": 3, "Plus 1?": 7}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "mt"
    write_lines(path / "question.jsonl", QUESTIONS)
    write_lines(path / "reference_answer" / "gpt-4.jsonl", [REFERENCE])
    return path


def blocks(prompt: str, title: str) -> list[str]:
    """Return what stands between the marks of our own prompts."""
    found = re.findall(rf"\[start of {title} (\w+)\]\n(.*?)\n\[end of {title} \1\]", prompt, re.S)
    return [text for _, text in found]


def reply(name: str, messages: Sequence[Message]) -> str | None:
    """A model repeats what it was asked; the judge grades by the last question."""
    text = text_of(messages)
    if not name.startswith("judge"):
        return f"{name} says {text}"
    if "Rating:" in text:
        return f"Fine.\n\nRating: [[{GRADES[blocks(text, 'question')[-1]]}]]"
    sides = [blocks(text, f"answer(?: [12])? of assistant {side}")[-1] for side in "AB"]
    return f"Verdict: [[{'AB'[max(range(2), key=lambda i: sides[i])]}]]"


def single(folder: Path, **keys: Any) -> dict[str, Any]:
    return {"kind": "mt-bench", "path": str(folder), **keys}


def test_grades_by_hand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: Path) -> None:
    world = World(monkeypatch, tmp_path, reply)
    found = world.run(world.config(single(folder)))
    # turn 1: (8 + 3) / 2; turn 2: (6 + 7) / 2; average of the four: 24 / 4
    assert values(found, "value", "n", "unparsed") == {
        ("turn_1", "m"): (5.5, 2, 0), ("turn_2", "m"): (6.5, 2, 0), ("average", "m"): (6.0, 4, 0),
    }  # fmt: skip
    # four answers and four verdicts of 10 prompt and 5 completion tokens: 8 * (0.01 + 0.01)
    assert list(values(found, "cost").values()) == pytest.approx([0.16] * 3)
    assert {r.judge for r in found.results} == {"judge"}


def test_the_files_in_out_give_the_same_numbers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: Path
) -> None:
    world = World(monkeypatch, tmp_path, reply)
    found = world.run(world.config(single(folder)))
    again = board(tmp_path / "out" / "mt-bench", "mt-bench")
    columns = ("value", "low", "high", "n", "unparsed")
    assert cells(again, *columns) == values(found, *columns)
    assert again.table.filter(category="math").height == 3, "by category too"


def test_the_second_turn_sees_the_first_answer_and_temperatures_are_fastchats(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: Path
) -> None:
    world = World(monkeypatch, tmp_path, reply)
    world.run(world.config(single(folder)))
    asked = [r for name, r in world.asked if name == "m"]
    second = next(r for r in asked if text_of(r.messages) == "Again.")
    assert [m["content"] for m in second.messages] == ["Write A.", "m says Write A.", "Again."]
    temperatures = {text_of(r.messages): r.temperature for r in asked}
    assert temperatures == {"Write A.": 0.7, "Again.": 0.7, "What is 2+2?": 0.0, "Plus 1?": 0.0}
    assert {r.max_tokens for r in asked} == {1024}
    math = [text_of(r.messages) for n, r in world.asked if n == "judge" and "2+2" in str(r)]
    assert [blocks(text, "reference answer [12]") for text in math] == [["4"], ["4", "5"]]


def test_nothing_is_asked_twice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: Path
) -> None:
    world = World(monkeypatch, tmp_path, reply)
    first = world.run(world.config(single(folder)))
    assert len(world.asked) == 8
    assert world.run(world.config(single(folder))) == first
    assert len(world.asked) == 8
    world.run(world.config(single(folder), models=("m", "n")))
    assert len(world.asked) == 16, "the new model pays for itself alone"
    world.run(world.config(single(folder), models=("m", "n"), judges=("judge", "judge2")))
    assert [name for name, _ in world.asked[16:]] == ["judge2"] * 8


def test_pairs_by_hand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: Path) -> None:
    # The judge prefers the text that is later in the alphabet: z beats b in every game.
    world = World(monkeypatch, tmp_path, reply)
    config = world.config(single(folder, mode="pairwise", baseline="b"), models=("b", "z", "a"))
    found = world.run(config)
    assert values(found, "value") == {
        ("win_rate", "z"): 1.0, ("loss_rate", "z"): 0.0, ("win_rate_adjusted", "z"): 1.0,
        ("win_rate", "a"): 0.0, ("loss_rate", "a"): 1.0, ("win_rate_adjusted", "a"): 0.0,
    }  # fmt: skip
    again = board(tmp_path / "out" / "mt-bench", "mt-bench", baseline="b")
    assert cells(again, "value", "low", "n") == values(found, "value", "low", "n")
    assert any("the first answer won 50%" in note for note in found.notes)


def test_a_judge_of_one_side_ties(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: Path
) -> None:
    def first(name: str, messages: Sequence[Message]) -> str:
        return "[[A]]" if name == "judge" else f"{name}: {text_of(messages)}"

    world = World(monkeypatch, tmp_path, first)
    write_lines(folder / "question.jsonl", [QUESTIONS[0] | {"question_id": i} for i in range(3)])
    found = world.run(world.config(single(folder, mode="pairwise", baseline="b"), ("b", "z")))
    assert values(found, "value")["win_rate_adjusted", "z"] == 0.5
    assert values(found, "value")["win_rate", "z"] == 0.0


def test_nonsense_is_kept_counted_and_never_averaged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: Path
) -> None:
    rows = [{"question_id": i, "category": "writing", "turns": [f"Say {i}."]} for i in range(20)]
    write_lines(folder / "question.jsonl", rows)
    judged = 0

    def every_tenth(name: str, messages: Sequence[Message]) -> str:
        nonlocal judged
        if name != "judge":
            return text_of(messages)
        judged += 1
        return "The kettle." if judged % 10 == 0 else "Rating: [[9]]"

    world = World(monkeypatch, tmp_path, every_tenth)
    found = world.run(world.config(single(folder)))
    assert values(found, "value", "n", "unparsed")["average", "m"] == (9.0, 18, 2)
    assert "m: 2 of 20 verdicts of judge cannot be read; the result stands on the others alone" in (
        found.notes
    )
    lines = (tmp_path / "out" / "mt-bench" / "model_judgment" / "judge_single.jsonl").read_text()
    assert lines.count("The kettle.") == 2
    assert lines.count('"score": -1') == 2
    world.run(world.config(single(folder)))
    assert judged == 20, "an unreadable verdict is a verdict: it is not asked again"


def test_a_judge_that_is_down_ends_the_run_and_what_was_judged_stays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: Path
) -> None:
    down = True

    def fails(name: str, messages: Sequence[Message]) -> str | None:
        if name == "judge" and down and "Write A." not in text_of(messages):
            return None
        return reply(name, messages)

    world = World(monkeypatch, tmp_path, fails)
    config = world.config(single(folder)).model_copy(update={"max_failure_rate": 0.0})
    with pytest.raises(TooManyFailures, match="judge on mt-bench: 2 of 4 calls failed"):
        world.run(config)
    down, before = False, len(world.asked)
    assert values(world.run(config), "value")["average", "m"] == 6.0
    assert len(world.asked) - before == 2, "the two that failed"


def test_missing_answers_and_verdicts_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: Path
) -> None:
    def some(name: str, messages: Sequence[Message]) -> str | None:
        text = text_of(messages)
        if name == "m" and text == "Plus 1?":
            return None
        if name == "judge" and blocks(text, "question")[-1] == "Again.":
            return None
        return reply(name, messages)

    world = World(monkeypatch, tmp_path, some)
    found = world.run(world.config(single(folder)))
    assert values(found, "value", "n")["average", "m"] == (5.5, 2)
    assert "m: no answer to 1 of 2 questions (1 not answered): 2" in found.notes
    assert any(n.startswith("judge: no verdict on 1 of 3 games: m on question 1") for n in (
        found.notes
    ))  # fmt: skip


def test_two_snapshots_never_stand_in_one_table(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: Path
) -> None:
    world = World(monkeypatch, tmp_path, reply)
    world.served = {"judge": "gpt-x-1"}
    assert world.run(world.config(single(folder))).snapshots == {"judge": "gpt-x-1"}
    world.served = {"judge": "gpt-x-2"}
    with pytest.raises(EvaluationError, match=r"different.*gpt-x-1, gpt-x-2.*paid for anew"):
        world.run(world.config(single(folder), models=("m", "n")))
    assert [name for name, _ in world.asked[8:]].count("judge") == 1, "it stops at the first one"


def test_a_judge_is_held_to_what_it_was_found_to_be_before(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: Path
) -> None:
    """By another benchmark of the run, and by the verdicts that are stored."""
    world = World(monkeypatch, tmp_path, lambda name, messages: "[[A]]")
    world.served = {"judge": "gpt-x-2"}
    config = world.config(single(folder))
    (judge,) = required(config.evaluation).judges
    tools = replace(world.tools(config), snapshots={"judge": "gpt-x-1"})
    known = prompts(1)
    with pytest.raises(EvaluationError, match=r"different.*gpt-x-1, gpt-x-2"):
        Judge(judge, tools).verdicts(known, "pairs")
    assert len(world.asked) == 1, "it stops at the first one"
    world.served = {"judge": "gpt-x-1"}
    other = [(Message(role="user", content="Another prompt"),)]
    Judge(judge, tools).verdicts(other, "pairs")
    both = Judge(judge, world.tools(config))
    both.load(known)
    with pytest.raises(EvaluationError, match=r"different.*gpt-x-1, gpt-x-2"):
        both.load(other)


def test_prompts_of_the_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: Path
) -> None:
    names = ["single-v1", "single-v1-multi-turn", "single-math-v1", "single-math-v1-multi-turn"]
    fields = [
        "{question} {answer}", "{question_1} {answer_1} {question_2} {answer_2}",
        "{question} {ref_answer_1} {answer}",
        "{question_1} {ref_answer_1} {question_2} {ref_answer_2} {answer_1} {answer_2}",
    ]  # fmt: skip
    rows = [
        {"name": n, "system_prompt": "Judge.", "prompt_template": f"Mine: {f}"}
        for n, f in zip(names, fields, strict=True)
    ]
    write_lines(folder / "judge_prompts.jsonl", rows)

    def mine(name: str, messages: Sequence[Message]) -> str:
        if name != "judge":
            return "{answer} [[1]]"  # neither a placeholder nor a verdict
        assert messages[0] == {"role": "system", "content": "Judge."}
        assert text_of(messages).startswith("Mine: ")
        return "**Rating: [[4]]**"

    world = World(monkeypatch, tmp_path, mine)
    assert values(world.run(world.config(single(folder))), "value")["average", "m"] == 4.0
    sent = [text_of(r.messages) for name, r in world.asked if name == "judge"]
    assert "Mine: Write A. {answer} [[1]]" in sent
    write_lines(folder / "judge_prompts.jsonl", rows[:1])
    with pytest.raises(EvaluationError, match="has not the prompt 'single-v1-multi-turn'"):
        world.run(world.config(single(folder)))
    rows[0]["prompt_template"] = "no placeholder"
    write_lines(folder / "judge_prompts.jsonl", rows)
    with pytest.raises(EvaluationError, match=r"'single-v1' has no \{answer\}"):
        world.run(world.config(single(folder)))


REFUSED: list[tuple[str, str]] = [
    ('{"question_id": 1, "category": "x", "prompt": "p"}', "key 'turns'"),
    ('{"question_id": 9, "category": "math", "turns": ["p"]}', "no reference answer to question 9"),
    ("", "has no questions"),
]


@pytest.mark.parametrize(("line", "why"), REFUSED)
def test_a_folder_of_another_kind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: Path, line: str, why: str
) -> None:
    (folder / "question.jsonl").write_text(line)
    world = World(monkeypatch, tmp_path, reply)
    with pytest.raises(EvaluationError, match=re.escape(why)):
        world.run(world.config(single(folder)))


def test_a_baseline_that_is_none_of_the_models(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: Path
) -> None:
    world = World(monkeypatch, tmp_path, reply)
    for keys, why in (({}, "there is no base model among"), ({"baseline": "x"}, "baseline 'x'")):
        config = world.config(single(folder, mode="pairwise", **keys), models=("m", "n"))
        with pytest.raises(ConfigError, match=why):
            world.run(config)


def test_the_real_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = Path(__file__).parents[4] / "shared" / "data" / "mt_bench"
    if not path.exists():
        pytest.skip("shared/data/mt_bench is not here")

    def graded(name: str, messages: Sequence[Message]) -> str:
        return "Rating: [[7]]" if name == "judge" else "an answer"

    world = World(monkeypatch, tmp_path, graded)
    found = world.run(world.config(single(path)))
    assert values(found, "value", "n")["average", "m"] == (7.0, 160)
    assert len({r.category for r in found.results}) == 9, "eight, and all of them"
    config = world.config(single(path))
    [one] = config.evaluation.benchmarks if config.evaluation else []
    benchmark = open_benchmark(one, config)
    by_category = {q.category: q.temperature for q in benchmark.questions}
    assert by_category["roleplay"] == 0.7
    assert (by_category["extraction"], by_category["stem"]) == (0.0, 0.1)
