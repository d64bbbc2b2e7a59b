"""A student beside the crowd and the metric headroom, derived by hand."""

import itertools
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from chain import Chosen, choose
from polars.testing import assert_frame_equal

from crowdselect_core import CrowdModel, crowd_metrics, integrate
from crowdselect_core.errors import ConfigError, CrowdError
from crowdselect_core.metrics.foundation_metrics import crowd_metrics_NM
from crowdselect_core.report.text import as_text
from crowdselect_core.selection.integration import eligibility_counts
from crowdselect_core.selection.methods.rank import rank
from crowdselect_core.selection.metric_weights import check_student

# In name order the student stands between the two: a place that counts for one of the crowd shows.
SMALL = CrowdModel(name="ant-1b", family="ant", size=1)
STUDENT = CrowdModel(name="ant-3b", family="ant", size=3, role="student")
LARGE = CrowdModel(name="ant-7b", family="ant", size=7)
CROWD = [SMALL, STUDENT, LARGE]

SCORES = pl.DataFrame(
    {
        "instruction_id": ["a", "b", "c", "d", "e"],
        "ant-1b": [1.0, 4.0, 0.0, None, 2.0],
        "ant-3b": [-1.0, 9.0, None, 5.0, math.inf],
        "ant-7b": [3.0, 2.0, 6.0, None, 4.0],
    }
)


def test_headroom_is_the_best_of_the_crowd_minus_the_student() -> None:
    got = crowd_metrics(SCORES, CROWD)
    # a: 3 - -1; b: 4 - 9, the student is ahead; c: no score of the student; d: none of the
    # crowd; e: an infinite score is missing
    assert got["headroom"].to_list() == [4.0, -5.0, None, None, None]


def test_the_student_counts_in_no_other_metric() -> None:
    got = crowd_metrics(SCORES, CROWD)
    # a: 1 and 3; b: 4 and 2; c: 0 and 6; d: nothing, though the student has a score; e: 2 and 4
    assert got["n_scores"].to_list() == [2, 2, 2, 0, 2]
    assert got["difficulty"].to_list() == [-2.0, -3.0, -3.0, None, -3.0]
    assert got["separability"].to_list() == [1.0, 1.0, 9.0, None, 1.0]
    assert got["stability"].to_list() == [1.0, -1.0, 1.0, None, 1.0]
    alone = crowd_metrics(SCORES, [SMALL, LARGE])
    assert_frame_equal(got.drop("headroom"), alone.drop("headroom"), check_exact=True)
    assert alone["headroom"].null_count() == 5


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_order_of_the_crowd_changes_nothing(order: tuple[int, ...]) -> None:
    crowd = [CROWD[i] for i in order]
    expected = crowd_metrics(SCORES, CROWD)
    assert_frame_equal(crowd_metrics(SCORES, crowd), expected, check_exact=True)
    scores_NM = SCORES.select(pl.col(m.name).fill_null(math.nan) for m in crowd).to_numpy()
    from_array = crowd_metrics_NM(scores_NM, crowd)
    assert_frame_equal(from_array, expected.drop("instruction_id"), check_exact=True)


def test_equal_to_the_best_is_zero_and_not_minus_zero() -> None:
    got = crowd_metrics_NM(np.array([[-0.0, 0.0, -1.0]]), [SMALL, STUDENT, LARGE])
    assert str(got["headroom"][0]) == "0.0"


def test_students_that_cannot_be() -> None:
    with pytest.raises(CrowdError, match="ant-3b, bat have the role student, expected one"):
        crowd_metrics(SCORES, [*CROWD, CrowdModel(name="bat", family="b", size=1, role="student")])
    with pytest.raises(CrowdError, match="ant-3b is the student and no other model is named"):
        crowd_metrics(SCORES, [STUDENT])
    with pytest.raises(CrowdError, match="no column for crowd model 'ant-3b'"):
        crowd_metrics(SCORES.drop("ant-3b"), CROWD)


def metrics_of(headroom: list[float | None]) -> pl.DataFrame:
    rows = len(headroom)
    return pl.DataFrame(
        {
            "instruction_id": [f"r{i}" for i in range(rows)],
            "n_scores": [4] * rows,
            "difficulty": [float(i) for i in range(rows)],
            "separability": [1.0] * rows,
            "stability": [0.5] * rows,
            "headroom": headroom,
        },
        schema_overrides={"headroom": pl.Float64},
    )


def test_four_weights_by_hand() -> None:
    got = integrate(metrics_of([2.0, 8.0, 5.0]), (1, 0, 0, 4))
    # q_d = 0 .5 1 and q_h = 0 1 .5: 0, .5 + 4, 1 + 2
    assert got["headroom_q"].to_list() == [0.0, 1.0, 0.5]
    assert got["score"].to_list() == [0.0, 4.5, 3.0]
    # and reversed: 0, .5 - 4, 1 - 2
    got = integrate(metrics_of([2.0, 8.0, 5.0]), (1, 0, 0, -4))
    assert got["score"].to_list() == [0.0, -3.5, -1.0]


def test_three_weights_leave_headroom_out() -> None:
    table = metrics_of([2.0, None, 5.0])
    three = integrate(table, (1, 1, 2))
    assert three["eligible"].to_list() == [True] * 3
    assert three["headroom_q"].to_list() == [0.0, None, 1.0]
    assert_frame_equal(three, integrate(table, (1, 1, 2, 0)), check_exact=True)
    without = integrate(table.drop("headroom"), (1, 1, 2))
    assert without["headroom"].null_count() == without["headroom_q"].null_count() == 3
    assert without["score"].equals(three["score"])


def test_a_row_without_headroom_is_out_where_it_has_weight() -> None:
    got = integrate(metrics_of([2.0, None, 5.0]), (0, 0, 0, 1))
    assert got["score"].to_list() == [0.0, None, 1.0]
    assert eligibility_counts(got) == {"no_headroom": 1}


def test_headroom_of_no_row_is_refused_where_it_has_weight() -> None:
    nothing = metrics_of([None, None])
    for table in (nothing, nothing.drop("headroom")):
        with pytest.raises(ConfigError, match=r"none of the 2 rows has any: name the student"):
            integrate(table, (1, 1, 2, 0.5))
    assert integrate(nothing.head(0), (1, 1, 2, 0.5)).is_empty()


def test_the_method_headroom() -> None:
    table = metrics_of([2.0, 8.0, 5.0])
    assert rank(table, method="headroom")["score"].to_list() == [0.0, 1.0, 0.5]
    assert rank(table, method="headroom", direction="bottom")["score"].to_list() == [0, -1, -0.5]


def test_headroom_needs_a_student() -> None:
    check_student(CROWD, (1, 1, 2, 1))
    check_student([SMALL, LARGE], (1, 1, 2, 0))
    with pytest.raises(CrowdError, match=r"weight -1, but none of the 2 models is the student"):
        check_student([SMALL, LARGE], (1, 1, 2, -1))


# --- through the stages --------------------------------------------------------------------------

# id, then (r, s) of ant-1b, ant-3b (the student) and ant-7b. r of the crowd: 0 4 0 4 0 4 0 4, mean
# 2, deviation 2. s of the crowd: 10 30 30 10 10 30, mean 20, deviation 10; two are missing.
PAIRS: list[tuple[str, list[tuple[float | None, float | None]]]] = [
    ("a", [(0, 10), (-2, 0), (4, 30)]),
    ("b", [(4, 30), (6, 40), (0, 10)]),
    ("c", [(0, None), (2, None), (4, None)]),
    ("d", [(4, 30), (None, None), (0, 10)]),
]


def zoo(folder: Path) -> Path:
    """Write the rows above; every answer names who gave it, the student's are the longest."""
    columns: dict[str, Any] = {
        "uuid": [i for i, _ in PAIRS],
        "instruction": [f"Question {i}?" for i, _ in PAIRS],
    }
    for place, model in enumerate(CROWD):
        columns[model.name] = [
            {"content": f"{model.name} on {i}", "r": scores[place][0], "s": scores[place][1]}
            for i, scores in PAIRS
        ]
    path = folder / "zoo.parquet"
    kind = pl.Struct({"content": pl.String, "r": pl.Float64, "s": pl.Float64})
    pl.DataFrame(columns, schema_overrides={m.name: kind for m in CROWD}).write_parquet(path)
    return path


def chosen_of(folder: Path, crowd: list[CrowdModel] = CROWD, **keys: Any) -> Chosen:
    models = [m.model_dump(include={"name", "family", "size", "role"}) for m in crowd]
    given = {"dataset": str(zoo(folder)), "crowd": models, "reward_models": ["r"], "budget": 3}
    return choose(folder, **given | {"min_scores": 1} | keys)


def test_one_reward_model(tmp_path: Path) -> None:
    chosen = chosen_of(tmp_path, weights="0,0,0,1", export="pairs")
    told = chosen.stored("metrics")
    # the best is 4 everywhere; the student has -2, 6, 2 and nothing
    assert told["headroom"].to_list() == [6.0, -2.0, 2.0, None]
    assert told["student_score"].to_list() == [-2.0, 6.0, 2.0, None]
    assert told["best_score"].to_list() == [4.0] * 4
    assert told["difficulty"].to_list() == [-2.0] * 4
    assert chosen.ids == ["a", "c", "b"]
    assert chosen.selection["headroom"].to_list() == [6.0, 2.0, -2.0]
    # on b the student has the best answer of all, and it is neither kept nor paired
    assert chosen.selection["response_model"].to_list() == ["ant-7b", "ant-7b", "ant-1b"]
    pairs = pl.read_ndjson(chosen.out / "pairs.jsonl")
    assert pairs["chosen_model"].to_list() == ["ant-7b", "ant-7b", "ant-1b"]
    assert pairs["rejected_model"].to_list() == ["ant-1b", "ant-1b", "ant-7b"]
    assert chosen.manifest["summary"]["ineligible"] == {"no_headroom": 1}


def test_several_reward_models_are_scaled_by_the_crowd(tmp_path: Path) -> None:
    chosen = chosen_of(tmp_path, reward_models=["r", "s"], budget=2)
    moments = chosen.inputs.metrics.facts["moments"]
    assert moments["r"] == {"mean": 2.0, "std": 2.0, "n": 8}
    assert moments["s"] == {"mean": 20.0, "std": 10.0, "n": 6}
    told = chosen.stored("metrics")
    # the best z is 1 everywhere; the student: a (-2 + -2)/2, b (2 + 2)/2, c 0 by r alone, d none
    assert told["student_score"].to_list() == [-2.0, 2.0, 0.0, None]
    assert told["headroom"].to_list() == [3.0, -1.0, 1.0, None]


def test_without_its_role_the_student_is_one_of_the_crowd(tmp_path: Path) -> None:
    crowd = [m.model_copy(update={"role": "crowd"}) for m in CROWD]
    with_student, without = chosen_of(tmp_path), chosen_of(tmp_path, crowd)
    # what everyone scored is the same artifact; b: 4 6 0 and 3 models
    assert with_student.inputs.scores.key == without.inputs.scores.key
    assert without.stored("metrics")["n_scores"].to_list() == [3, 3, 3, 2]
    assert without.stored("metrics")["best_score"].to_list() == [4.0, 6.0, 4.0, 4.0]
    assert "student_score" not in without.stored("metrics").columns


def test_the_summary_and_the_sentences_tell_of_the_student(tmp_path: Path) -> None:
    chosen = chosen_of(tmp_path)
    summary = chosen.manifest["summary"]
    # scores -2 6 2: mean 2; headroom 6 -2 2: mean 2
    assert summary["student"] == {
        "name": "ant-3b", "scores": 3, "mean_score": 2.0, "mean_headroom": 2.0,
    }  # fmt: skip
    line = "student    ant-3b: mean score 2 over 3 rows, mean headroom 2"
    assert line in as_text(summary, [], []).split("\n")
    why = dict(chosen.ranking.select("instruction_id", "reason").iter_rows())
    # q over a, b, c: 1, 0, .5; d has none
    for row, percent in {"a": "100", "b": "0", "c": "50", "d": r"\?"}.items():
        assert re.search(rf"headroom higher than {percent}%", why[row])


def test_a_student_without_any_score(tmp_path: Path) -> None:
    path = zoo(tmp_path)
    empty = {"content": "x", "r": None, "s": None}
    kind = pl.Struct({"content": pl.String, "r": pl.Float64, "s": pl.Float64})
    table = pl.read_parquet(path).with_columns(pl.lit(empty, dtype=kind).alias("ant-3b"))
    path = tmp_path / "silent.parquet"
    table.write_parquet(path)
    chosen = chosen_of(tmp_path, dataset=str(path))
    summary = chosen.manifest["summary"]
    assert summary["student"] == {
        "name": "ant-3b", "scores": 0, "mean_score": None, "mean_headroom": None,
    }  # fmt: skip
    assert "student    ant-3b has no score" in as_text(summary, [], []).split("\n")
    with pytest.raises(ConfigError, match="headroom has the weight 1, but none of the 4 rows"):
        chosen_of(tmp_path, dataset=str(path), weights="1,1,2,1")


def test_the_order_of_the_crowd_file_changes_no_artifact(tmp_path: Path) -> None:
    keys: dict[str, Any] = {"weights": "1,1,2,1", "reward_models": ["r", "s"], "budget": 2}
    (tmp_path / "x").mkdir()
    one = chosen_of(tmp_path / "x", **keys)
    (tmp_path / "y").mkdir()
    other = chosen_of(tmp_path / "y", CROWD[::-1], **keys)
    assert one.manifest["artifacts"] == other.manifest["artifacts"]
    assert one.manifest["files"] == other.manifest["files"]
