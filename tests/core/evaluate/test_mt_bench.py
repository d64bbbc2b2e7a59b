"""MT-Bench's aggregates, by hand."""

from pathlib import Path

import polars as pl
import pytest
from judged import board, cells, graded, paired, write_rows

from crowdselect_core.errors import EvaluationError

SINGLE = [
    graded("m", 81, 1, 8),
    graded("m", 81, 2, 6.5),
    graded("m", 101, 1, 10),
    graded("m", 101, 2, -1),
]
A_B = ("a", "b")
PAIRS = [
    paired(A_B, 1, "model_1", "model_1"),  # a wins
    paired(A_B, 2, "model_1", "model_2"),  # the games differ: a tie
    paired(A_B, 3, "tie", "tie"),
    paired(A_B, 4, "model_2", "model_2"),  # b wins
    paired(A_B, 4, "tie", "model_1", turn=2),  # a tie
    paired(A_B, 5, "error", "model_1"),  # missing
    paired(A_B, 6, "model_1", "model_1"),  # a wins
]


def test_the_average_is_over_the_rows_of_both_turns(tmp_path: Path) -> None:
    found = board(write_rows(tmp_path / "gpt-4_single.jsonl", SINGLE), "mt-bench")
    # (8 + 6.5 + 10) / 3 = 8.1667; the mean of the turns' means, 9 and 6.5, would be 7.75
    assert cells(found, "value", "n", "unparsed") == {
        ("turn_1", "m"): (9.0, 2, 0),
        ("turn_2", "m"): (6.5, 1, 1),
        ("average", "m"): (pytest.approx(24.5 / 3), 3, 1),
    }
    assert found.table["judge"].unique().to_list() == ["gpt-4"]
    assert found.table["cost"].null_count() == found.table.height


def test_pairs_count_wins_losses_and_ties(tmp_path: Path) -> None:
    found = board(write_rows(tmp_path / "gpt-4_pair.jsonl", PAIRS), "mt-bench")
    # a: 2 wins, 1 loss, 3 ties of 6; (2 + 3/2) / 6 = 0.58333. b the other way round.
    assert cells(found, "value", "n", "unparsed") == {
        ("win_rate", "a"): (pytest.approx(2 / 6), 6, 1),
        ("win_rate", "b"): (pytest.approx(1 / 6), 6, 1),
        ("loss_rate", "a"): (pytest.approx(1 / 6), 6, 1),
        ("loss_rate", "b"): (pytest.approx(2 / 6), 6, 1),
        ("win_rate_adjusted", "a"): (pytest.approx(3.5 / 6), 6, 1),
        ("win_rate_adjusted", "b"): (pytest.approx(2.5 / 6), 6, 1),
    }


def test_a_baseline_leaves_the_pairs_with_it(tmp_path: Path) -> None:
    others = [paired(("b", "c"), q, "model_1", "model_1") for q in (1, 2)]
    file = write_rows(tmp_path / "gpt-4_pair.jsonl", [*PAIRS, *others])
    found = cells(board(file, "mt-bench", baseline="c"), "value", "n")
    assert found["win_rate", "b"] == (1.0, 2)
    assert {model for _, model in found} == {"b"}
    with pytest.raises(EvaluationError, match="no judged pair has the baseline 'd'"):
        board(file, "mt-bench", baseline="d")


@pytest.mark.parametrize("score", [None, "8", "eight", True, [8], -1, float("nan"), float("inf")])
def test_a_score_that_cannot_be_read_is_missing(tmp_path: Path, score: object) -> None:
    rows = [graded("m", 81, 1, 4), graded("m", 82, 1, score)]
    found = board(write_rows(tmp_path / "x_single.jsonl", rows), "mt-bench")
    assert cells(found, "value", "n", "unparsed")["average", "m"] == (4.0, 1, 1)
    assert any("1 of 2 verdicts of gpt-4 cannot be read" in note for note in found.notes)


@pytest.mark.parametrize("winner", [None, "error", "Model_1", "A", ["model_1"], 1])
def test_a_winner_that_cannot_be_read_is_no_tie(tmp_path: Path, winner: object) -> None:
    rows = [paired(A_B, 1, "model_1", "model_1"), paired(A_B, 2, winner, winner)]
    found = board(write_rows(tmp_path / "x_pair.jsonl", rows), "mt-bench")
    assert cells(found, "value", "n", "unparsed")["win_rate_adjusted", "a"] == (1.0, 1, 1)


def test_a_model_without_a_readable_verdict_has_no_value(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "x_single.jsonl", [graded("m", 81, 1, -1), graded("n", 81, 1, 3)])
    found = cells(board(file, "mt-bench"), "value", "low", "high", "n", "unparsed")
    assert found["average", "m"] == (None, None, None, 0, 1)
    assert found["average", "n"] == (3.0, 3.0, 3.0, 1, 0)


def test_categories_come_from_the_questions_beside_the_judgments(tmp_path: Path) -> None:
    questions = [{"question_id": q, "category": c} for q, c in ((81, "writing"), (101, "reasoning"),
                                                                (102, "reasoning"))]  # fmt: skip
    write_rows(tmp_path / "question.jsonl", questions)
    write_rows(tmp_path / "model_judgment" / "gpt-4_single.jsonl", SINGLE)
    found = board(tmp_path, "mt-bench")
    averages = found.table.filter(pl.col("metric") == "average")
    assert dict(averages.select("category", "value").iter_rows()) == {
        None: pytest.approx(24.5 / 3), "reasoning": 10.0, "writing": 7.25,
    }  # fmt: skip
    assert found.notes[0] == "m: no judgment of gpt-4 for 1 questions: 102"
    named = board(tmp_path / "model_judgment" / "gpt-4_single.jsonl", "mt-bench",
                  questions=str(tmp_path / "question.jsonl"))  # fmt: skip
    assert named.table.equals(found.table)


def test_official_has_no_intervals(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "gpt-4_single.jsonl", SINGLE)
    found = cells(board(file, "mt-bench", official=True), "value", "low", "high")
    assert found["turn_1", "m"] == (9.0, None, None)


def test_two_judges_have_lines_of_their_own(tmp_path: Path) -> None:
    write_rows(tmp_path / "gpt-4_single.jsonl", [graded("m", 81, 1, 8)])
    write_rows(tmp_path / "claude_single.jsonl", [graded("m", 81, 1, 4, judge="claude")])
    found = board(tmp_path, "mt-bench").table.filter(pl.col("metric") == "average")
    assert dict(found.select("judge", "value").iter_rows()) == {"claude": 4.0, "gpt-4": 8.0}
