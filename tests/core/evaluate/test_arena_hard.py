"""Arena-Hard's win rates, by hand."""

from pathlib import Path

import polars as pl
import pytest
from judged import board, cells, compared, compared_v2, write_rows

# Game 1 has the baseline as A, game 2 the model; >> weighs 3 battles.
# q1: a loss of 1, a win of 3. q2: a tie, and nothing that can be read.
ROWS = [("q1", "A>B", "A>>B"), ("q2", "A=B", None)]


def v01(model: str = "m") -> list[dict[str, object]]:
    return [compared(model, *row) for row in ROWS]


def v2(model: str = "m") -> list[dict[str, object]]:
    return [compared_v2(model, *row) for row in ROWS]


def test_v01_leaves_out_the_game_that_cannot_be_read(tmp_path: Path) -> None:
    write_rows(tmp_path / "m.jsonl", v01())
    found = cells(board(tmp_path, "arena-hard"), "value", "n", "unparsed")
    # (3 + 1/2) / (1 + 3 + 1) = 70 %
    assert found["win_rate", "m"] == (70.0, 3, 1)
    assert found["win_rate", "gpt-4-0314"] == (50.0, 0, 0)


def test_v2_leaves_out_the_whole_row(tmp_path: Path) -> None:
    write_rows(tmp_path / "m.jsonl", v2())
    found = board(tmp_path, "arena-hard")
    # 3 / (1 + 3) = 75 %
    assert cells(found, "value", "n", "unparsed")["win_rate", "m"] == (75.0, 2, 1)
    categories = found.table.filter(pl.col("model") == "m")["category"].to_list()
    assert categories == [None, "hard_prompt"]


LABELS = [  # the label of game 1, and what the model wins of how many battles
    ("A>>B", 0.0, 3), ("A>B", 0.0, 1), ("A=B", 0.5, 1), ("B>A", 1.0, 1), ("B>>A", 3.0, 3),
]  # fmt: skip


@pytest.mark.parametrize(("label", "wins", "battles"), LABELS)
def test_every_label_in_both_games(tmp_path: Path, label: str, wins: float, battles: int) -> None:
    write_rows(tmp_path / "m.jsonl", [compared("m", "q", label, None)])
    found = cells(board(tmp_path, "arena-hard"), "value")
    assert found["win_rate", "m"] == pytest.approx(100 * wins / battles)
    write_rows(tmp_path / "m.jsonl", [compared("m", "q", None, label)])
    found = cells(board(tmp_path, "arena-hard"), "value")
    assert found["win_rate", "m"] == pytest.approx(100 - 100 * wins / battles)


@pytest.mark.parametrize("label", ["a>b", "A>C", "", "A>B A=B", "[[A>B]]", ["A>B"], 1, None])
def test_a_label_that_cannot_be_read_is_missing(tmp_path: Path, label: object) -> None:
    rows = [compared("m", "q1", "B>A", "A>B"), compared("m", "q2", label, label)]
    write_rows(tmp_path / "m.jsonl", rows)
    found = board(tmp_path, "arena-hard")
    assert cells(found, "value", "n", "unparsed")["win_rate", "m"] == (100.0, 2, 2)
    assert found.notes[0].startswith("m: 2 of 4 verdicts of judge cannot be read")


def test_mirrored_labels_are_of_v2_alone(tmp_path: Path) -> None:
    write_rows(tmp_path / "m.jsonl", [compared_v2("m", "q", "B<A", "B<<A")])
    assert cells(board(tmp_path, "arena-hard"), "value")["win_rate", "m"] == 75.0
    write_rows(tmp_path / "m.jsonl", [compared("m", "q", "B<A", "A=B")])
    assert cells(board(tmp_path, "arena-hard"), "n", "unparsed")["win_rate", "m"] == (1, 1)


@pytest.mark.parametrize("games", [None, [], [None, None], [{"score": "A>B"}], [{}, "A>B"]])
def test_games_that_are_missing_are_counted(tmp_path: Path, games: object) -> None:
    rows = [compared("m", "q1", "B>A", "A>B"), compared("m", "q2", "", "") | {"games": games}]
    write_rows(tmp_path / "m.jsonl", rows)
    value, n, unparsed = cells(board(tmp_path, "arena-hard"), "value", "n", "unparsed")[
        "win_rate", "m"
    ]
    there = sum(g == {"score": "A>B"} for g in games or [])  # type: ignore[attr-defined]
    assert (n, unparsed) == (2 + there, 2 - there)
    assert value == pytest.approx(100 * 2 / (2 + there))


def test_the_baseline_against_itself_is_not_counted(tmp_path: Path) -> None:
    write_rows(tmp_path / "m.jsonl", v01())
    write_rows(tmp_path / "base.jsonl", [compared("base", "q1", "A>B", "A=B")])
    found = board(tmp_path, "arena-hard", baseline="base")
    assert cells(found, "value", "low", "high", "n")["win_rate", "base"] == (50.0, 50.0, 50.0, 0)
    assert "base: is the baseline; what it got against itself is not counted" in found.notes


def test_v2_leaves_out_the_judge_itself(tmp_path: Path) -> None:
    write_rows(tmp_path / "m.jsonl", v2())
    write_rows(tmp_path / "judge.jsonl", v2("judge"))
    found = board(tmp_path, "arena-hard")
    assert {model for _, model in cells(found, "value")} == {"m", "base"}
    assert any(note.startswith("judge: is the judge itself") for note in found.notes)


def test_categories_with_baselines_of_their_own_have_no_common_win_rate(tmp_path: Path) -> None:
    other = compared_v2("m", "q9", "B>A", "A>B", "creative_writing", baseline="poet")
    write_rows(tmp_path / "m.jsonl", [*v2(), other])
    found = board(tmp_path, "arena-hard")
    values = found.table.filter(pl.col("model") == "m").select("category", "value")
    assert dict(values.iter_rows()) == {"creative_writing": 100.0, "hard_prompt": 75.0}
    even = found.table.filter(pl.col("value") == 50.0).select("category", "model")
    assert dict(even.iter_rows()) == {"creative_writing": "poet", "hard_prompt": "base"}
    assert any("their baselines differ (base, poet)" in note for note in found.notes)


def test_v01_takes_categories_and_missing_questions_from_question_jsonl(tmp_path: Path) -> None:
    questions = [{"question_id": f"q{i}", "category": f"c{i % 2}"} for i in (1, 2, 3)]
    write_rows(tmp_path / "question.jsonl", questions)
    write_rows(tmp_path / "model_judgment" / "judge" / "m.jsonl", v01())
    found = board(tmp_path, "arena-hard")
    values = found.table.filter(pl.col("model") == "m").select("category", "value")
    assert dict(values.iter_rows()) == {None: 70.0, "c0": 50.0, "c1": 75.0}
    assert "m: no judgment of judge for 1 questions: q3" in found.notes


def test_a_row_without_a_judge_has_that_of_its_folder(tmp_path: Path) -> None:
    rows = [{k: v for k, v in row.items() if k != "judge"} for row in v01()]
    write_rows(tmp_path / "model_judgment" / "gpt-x" / "m.jsonl", rows)
    assert board(tmp_path, "arena-hard").table["judge"].unique().to_list() == ["gpt-x"]
    write_rows(tmp_path / "alone" / "m.jsonl", rows)
    assert board(tmp_path / "alone", "arena-hard").table["judge"].unique().to_list() == [None]


def test_v2_misses_the_questions_of_its_categories_alone(tmp_path: Path) -> None:
    questions = [("q1", "hard_prompt"), ("q8", "hard_prompt"), ("q9", "creative_writing")]
    write_rows(tmp_path / "question.jsonl", [{"uid": q, "category": c} for q, c in questions])
    write_rows(tmp_path / "model_judgment" / "judge" / "m.jsonl", v2()[:1])
    assert board(tmp_path, "arena-hard").notes == ["m: no judgment of judge for 1 questions: q8"]
