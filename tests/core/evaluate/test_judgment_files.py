"""Judgment files that are not as they should be: one line that names the file and the line."""

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from judged import board, cells, compared, compared_v2, graded, paired, write_rows

from crowdselect_core.config.evaluate import BenchmarkKind, EvaluateConfig
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import EvaluationError
from crowdselect_core.planning.evaluation_forecast import evaluation_forecast
from crowdselect_core.stages.base import Runner
from crowdselect_core.stages.refs import Ref

GOOD = graded("m", 81, 1, 8)
PAIR = paired(("a", "b"), 81, "tie", "tie")
ARENA = compared("m", "q1", "A>B", "B>A")
V2 = compared_v2("m", "q1", "A>B", "B>A")


def without(row: dict[str, Any], key: str) -> dict[str, Any]:
    return {k: v for k, v in row.items() if k != key}


BAD = [
    ("mt-bench", [GOOD, '{"question_id": 81, "mod'], "x_single.jsonl: line 2: is no JSON"),
    ("mt-bench", [GOOD, "[1, 2]"], "line 2: expected a JSON object, found [1, 2]"),
    ("mt-bench", [GOOD, "[" * 100_000], "line 2: is no JSON"),
    ("mt-bench", [], "x_single.jsonl: has no rows"),
    ("mt-bench", [{"a": 1}], "line 1: has neither 'score'"),
    ("mt-bench", [ARENA], "line 1: is a judgment of Arena-Hard; pass --benchmark arena-hard"),
    ("mt-bench", [GOOD, PAIR], "line 2: single grading and pairs stand in one file"),
    ("mt-bench", [GOOD, without(GOOD, "model")], "line 2: key 'model': expected text, found no"),
    ("mt-bench", [GOOD | {"question_id": None}], "line 1: key 'question_id': expected the id"),
    ("mt-bench", [GOOD | {"question_id": True}], "line 1: key 'question_id': expected the id"),
    ("mt-bench", [GOOD | {"turn": 3}], "line 1: key 'turn': expected 1 or 2, found 3"),
    ("mt-bench", [GOOD | {"judge": {"name": "x"}}], "line 1: key 'judge': expected a name"),
    ("mt-bench", [GOOD, graded("m", 82, 1, 8, judge="other")],
     "line 2: the judge is 'other', in line 1 it is 'gpt-4'"),
    ("arena-hard", [GOOD], "line 1: has no 'games': is no judgment of Arena-Hard; pass --benchm"),
    ("arena-hard", [ARENA, V2 | {"uid": "q2"}], "line 2: is a row of v2 among rows of v0.1"),
    ("arena-hard", [ARENA | {"games": "A>B"}], "line 1: key 'games': expected a list of two"),
    ("arena-hard", [ARENA | {"games": [{"score": "A>B"}] * 3}], "line 1: key 'games': expected"),
    ("arena-hard", [without(V2, "category")], "line 1: key 'category': expected text"),
    ("arena-hard", [without(V2, "baseline") | {"category": "chess"}],
     "line 1: names no baseline, and category 'chess' has none; pass --baseline"),
    ("arena-hard", [V2, V2 | {"uid": "q2", "baseline": "z"}],
     "line 2: was judged against 'z', and "),
    ("arena-hard", [ARENA, compared("m", "q2", "A>B", "B>A", judge="other")],
     "line 2: the judge is 'other', in line 1 it is 'judge'"),
]  # fmt: skip


@pytest.mark.parametrize(("benchmark", "rows", "why"), BAD)
def test_a_file_is_refused_in_one_line(
    tmp_path: Path, benchmark: str, rows: list[Any], why: str
) -> None:
    file = write_rows(tmp_path / "x_single.jsonl", rows)
    with pytest.raises(EvaluationError) as caught:
        board(file, benchmark)
    message = str(caught.value)
    assert why in message
    assert message.startswith(str(file))
    assert "\n" not in message
    assert len(message) < 600


def test_a_line_that_was_cut_off_is_called_so(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "x_single.jsonl", [GOOD, graded("m", 82, 1, 8)])
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(EvaluationError, match="line 2: is no JSON, cut off"):
        board(file, "mt-bench")


def test_a_baseline_that_the_rows_contradict(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "m.jsonl", [V2])
    with pytest.raises(EvaluationError, match="line 1: was judged against 'base', not against"):
        board(file, "arena-hard", baseline="other")


@pytest.mark.parametrize("benchmark", ["mt-bench", "arena-hard"])
def test_judgments_of_another_version_of_the_questions(tmp_path: Path, benchmark: str) -> None:
    write_rows(tmp_path / "question.jsonl", [{"question_id": "1", "category": "c"}])
    row = GOOD if benchmark == "mt-bench" else ARENA
    write_rows(tmp_path / "x_single.jsonl", [row])
    with pytest.raises(EvaluationError, match=r"line 1: question \w+ is not among the 1 of quest"):
        board(tmp_path, benchmark)


def _unused(config: SelectConfig, run: Runner) -> Ref:
    raise AssertionError("nothing is selected")


def test_a_dry_run_counts_the_files(tmp_path: Path) -> None:
    for name in ("a_single.jsonl", "b_single.jsonl", "question.jsonl"):
        write_rows(tmp_path / name, [GOOD])
    config = EvaluateConfig(judgments=str(tmp_path), benchmark="mt-bench", out="o")
    told = [f"judgments  {tmp_path}: 2 files; no model is asked", "out        o"]
    assert evaluation_forecast(config, _unused, str) == told


@pytest.mark.parametrize("benchmark", ["mt-bench", "arena-hard"])
def test_places_without_judgments(tmp_path: Path, benchmark: BenchmarkKind) -> None:
    with pytest.raises(EvaluationError, match="nowhere: no such file or folder; expected"):
        board(tmp_path / "nowhere", benchmark)
    config = EvaluateConfig(judgments=str(tmp_path / "nowhere"), benchmark=benchmark)
    with pytest.raises(EvaluationError, match="nowhere: no such file or folder; expected"):
        evaluation_forecast(config, _unused, str)  # a dry run finds it too
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("x")
    with pytest.raises(EvaluationError, match="empty: holds no judgments; expected"):
        board(tmp_path / "empty", benchmark)
    write_rows(tmp_path / "q" / "x_single.jsonl", [GOOD if benchmark == "mt-bench" else ARENA])
    with pytest.raises(EvaluationError, match=r"gone\.jsonl: no such file; expected a question"):
        board(tmp_path / "q", benchmark, questions=str(tmp_path / "gone.jsonl"))


def test_only_the_baseline_is_judged(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "m.jsonl", [ARENA])
    with pytest.raises(EvaluationError, match="holds no judgment of any model but the baseline"):
        board(file, "arena-hard", baseline="m")


def test_the_same_judgment_in_two_files_is_refused(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", [ARENA])
    write_rows(tmp_path / "b.jsonl", [compared("n", "q1", "A>B", "A>B"), ARENA])
    with pytest.raises(EvaluationError, match=r"b\.jsonl: line 2: the same judgment stands in .*a"):
        board(tmp_path, "arena-hard")


def test_a_judgment_that_stands_twice_in_a_file_counts_twice(tmp_path: Path) -> None:
    rows = [graded("m", 81, 1, 8), graded("m", 81, 1, 5), graded("m", 82, 1, 5)]
    found = board(write_rows(tmp_path / "x_single.jsonl", rows), "mt-bench")
    assert cells(found, "value", "n")["turn_1", "m"] == (6.0, 3)
    assert any("1 rows judge again what a row before them judges" in n for n in found.notes)


def test_lines_end_at_newlines_alone(tmp_path: Path) -> None:
    odd = GOOD | {"judgment": "a\u2028b\u0085c\x1cd\x0be"}
    file = write_rows(tmp_path / "x_single.jsonl", [odd, "", graded("m", 82, 1, 6)])
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert cells(board(file, "mt-bench"), "value", "n")["turn_1", "m"] == (7.0, 2)


def test_hidden_files_and_questions_are_no_models(tmp_path: Path) -> None:
    for name in ("m.jsonl", ".m.jsonl", "_m.jsonl"):
        write_rows(tmp_path / name, [ARENA])
    write_rows(tmp_path / "question.jsonl", [{"question_id": "q1", "category": "c"}])
    assert {model for _, model in cells(board(tmp_path, "arena-hard"), "n")} == {"m", "gpt-4-0314"}


LABEL = st.sampled_from(["A>>B", "A>B", "A=B", "B>A", "B>>A", None])
VERDICTS = st.lists(st.tuples(st.sampled_from("mn"), LABEL, LABEL), min_size=1, max_size=12)


@given(verdicts=VERDICTS, seed=st.integers(0, 99), files=st.integers(1, 3))
def test_the_order_of_files_and_rows_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, verdicts: list[Any], seed: int, files: int
) -> None:
    rows = [compared(model, f"q{i}", *labels) for i, (model, *labels) in enumerate(verdicts)]
    folder = tmp_path_factory.mktemp("whole")
    write_rows(folder / "all.jsonl", rows)
    whole = board(folder, "arena-hard").table
    random.Random(seed).shuffle(rows)
    split = tmp_path_factory.mktemp("split")
    for number in range(files):
        write_rows(split / f"{number}.jsonl", rows[number::files])
    write_rows(split / "all.jsonl", [])
    assert board(split, "arena-hard").table.equals(whole)
    for value, low, high in whole.select("value", "low", "high").drop_nulls().iter_rows():
        assert 0 <= low <= high <= 100
        assert 0 <= value <= 100
