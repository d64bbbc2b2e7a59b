"""Quantiles, the integrated score and who is eligible, derived by hand."""

import logging
import math
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import rankdata

from crowdselect_core.config.crowd import CrowdModel, read_crowd
from crowdselect_core.errors import ConfigError, CrowdError, DatasetError
from crowdselect_core.selection.eligibility import REQUIRED
from crowdselect_core.selection.integration import eligibility_counts, integrate
from crowdselect_core.selection.metric_weights import check_families
from crowdselect_core.selection.quantiles import quantiles
from crowdselect_core.tables import METRICS, RANKING, check

NAN = math.nan


def metrics_of(
    difficulty: list[float | None],
    separability: list[float | None] | None = None,
    stability: list[float | None] | None = None,
    n_scores: list[int] | None = None,
    **more: list[Any],
) -> pl.DataFrame:
    rows = len(difficulty)
    return pl.DataFrame(
        {
            "instruction_id": [f"r{i}" for i in range(rows)],
            "n_scores": n_scores or [4] * rows,
            "difficulty": difficulty,
            "separability": separability or [1.0] * rows,
            "stability": stability or [0.5] * rows,
            **more,
        },
        schema_overrides=dict(METRICS),
    )


def test_quantiles_by_hand() -> None:
    # ranks of 10 20 20 40: 1, 2.5, 2.5, 4; minus 1, over 3
    got = quantiles(pl.Series([20.0, 10.0, 40.0, 20.0]), np.ones(4, dtype=bool))
    assert got.tolist() == [0.5, 0.0, 1.0, 0.5]


def test_quantiles_are_over_the_eligible_values_that_are_there() -> None:
    # 5 is not eligible, null takes no part: 10, 20, 30 are left
    values = pl.Series([30.0, 5.0, None, 10.0, 20.0])
    got = quantiles(values, np.array([True, False, True, True, True]))
    np.testing.assert_array_equal(got, [1.0, NAN, NAN, 0.0, 0.5])
    np.testing.assert_array_equal(
        quantiles(np.array([NAN, 7.0]), np.array([True, True])), [NAN, 0.5]
    )  # one value alone
    assert quantiles(np.array([]), np.array([], dtype=bool)).tolist() == []


def test_all_equal_and_both_zeros() -> None:
    assert quantiles(np.array([3.0, 3.0, 3.0]), np.ones(3, dtype=bool)).tolist() == [0.5] * 3
    assert quantiles(np.array([0.0, -0.0]), np.ones(2, dtype=bool)).tolist() == [0.5, 0.5]


def test_quantiles_agree_with_scipy() -> None:
    values = np.random.default_rng(0).integers(0, 200, size=1_000).astype(float)
    expected = (rankdata(values) - 1) / 999
    np.testing.assert_allclose(quantiles(values, np.ones(1_000, dtype=bool)), expected, atol=1e-15)


def test_score_by_hand() -> None:
    # q_d = 0 .5 1, q_s = 1 .5 0, q_t = .5 0 1 (r0 r1 r2)
    got = integrate(
        metrics_of([-3.0, -2.0, -1.0], [9.0, 4.0, 1.0], [0.0, -1.0, 0.8]), (1, 1, 2), min_scores=2
    )
    check(got, RANKING, "ranking")
    assert got.columns == list(RANKING)
    assert got["difficulty_q"].to_list() == [0.0, 0.5, 1.0]
    assert got["separability_q"].to_list() == [1.0, 0.5, 0.0]
    assert got["stability_q"].to_list() == [0.5, 0.0, 1.0]
    # 0 + 1 + 2*.5, .5 + .5 + 0, 1 + 0 + 2
    assert got["score"].to_list() == [2.0, 1.0, 3.0]
    assert got["eligible"].to_list() == [True] * 3
    assert got["cluster_id"].to_list() == got["reason"].to_list() == [None] * 3


def test_a_negative_weight_reverses_a_metric() -> None:
    got = integrate(metrics_of([1.0, 2.0, 3.0], [7.0, 8.0, 9.0]), (-1, 0, 0))
    assert got["score"].to_list() == [0.0, -0.5, -1.0]
    assert math.copysign(1, got["score"][0]) == 1.0


def test_stability_is_ranked_with_9_decimals_and_shown_as_it_is() -> None:
    stability: list[float | None] = [0.5, 0.5 + 1e-12, 0.5 + 1e-8]
    got = integrate(metrics_of([1.0, 2.0, 3.0], None, stability), (0, 0, 1))
    assert got["stability_q"].to_list() == [0.25, 0.25, 1.0]
    assert got["stability"].to_list() == stability


def test_the_score_is_rounded_to_12_decimals() -> None:
    # q = 0 1/3 2/3 1
    got = integrate(metrics_of([1.0, 2.0, 3.0, 4.0]), (1, 0, 0))
    assert got["score"].to_list() == [0.0, 0.333333333333, 0.666666666667, 1.0]


def test_the_first_reason_that_applies() -> None:
    metrics = metrics_of(
        #  bar  few  no_d  no_s  no_t  no_a  null  good
        [None, None, None, 1.0, 1.0, 1.0, 1.0, 1.0],
        [None, None, None, None, 1.0, 1.0, 1.0, 1.0],
        [None, None, None, None, None, 1.0, 1.0, 1.0],
        [0, 1, 2, 2, 2, 2, 2, 2],
        barred=["on the exclude list", *[None] * 7],
        answerable=[False, False, False, False, False, False, None, True],
    )
    got = integrate(metrics, (1, 1, 2))
    assert got["reason"].to_list() == [
        "on the exclude list",
        "too_few_scores",
        "no_difficulty",
        "no_separability",
        "no_stability",
        "no_answer",
        "no_answer",
        None,
    ]
    assert got["eligible"].to_list() == [False] * 7 + [True]
    assert got["score"].to_list() == [None] * 7 + [2.0]  # alone: every q is .5
    assert got["difficulty_q"].to_list() == [None] * 7 + [0.5]
    assert eligibility_counts(got) == {
        "no_answer": 2,
        "no_difficulty": 1,
        "no_separability": 1,
        "no_stability": 1,
        "on the exclude list": 1,
        "too_few_scores": 1,
    }
    assert list(eligibility_counts(got)) == sorted(eligibility_counts(got))


def test_a_metric_without_weight_may_be_undefined() -> None:
    # r1 has no stability; r0 and r2 share its quantiles among themselves
    got = integrate(metrics_of([1.0, 2.0, 3.0], None, [0.1, None, 0.2]), (1, 0, 0))
    assert got["eligible"].to_list() == [True] * 3
    assert got["score"].to_list() == [0.0, 0.5, 1.0]
    assert got["stability_q"].to_list() == [0.0, None, 1.0]


def test_min_scores() -> None:
    metrics = metrics_of([1.0, 2.0, 3.0], None, None, [1, 2, 3])
    for least, eligible in [(0, 3), (1, 3), (2, 2), (3, 1), (4, 0)]:
        assert integrate(metrics, (1, 0, 0), min_scores=least)["eligible"].sum() == eligible
    for wrong in (-1, 1.5, True, "2"):
        with pytest.raises(ConfigError, match="min_scores"):
            integrate(metrics, (1, 0, 0), min_scores=wrong)  # type: ignore[arg-type]


def test_nan_in_a_metric_is_undefined() -> None:
    got = integrate(metrics_of([1.0, NAN]), (1, 1, 1))
    assert got["reason"].to_list() == [None, "no_difficulty"]
    assert got["difficulty"].to_list() == [1.0, None]


@pytest.mark.parametrize(
    "weights",
    [
        *[(1, 1), (1, 1, 2, 3), (0, 0, 0), (1, NAN, 1), (1, math.inf, 1)],
        *["112", (1, "1", 2), 5, None, (1e-9, 0, 0), (1, 1, 1e9)],
    ],
)
def test_weights_that_cannot_be(weights: Any) -> None:
    with pytest.raises(ConfigError, match="weights"):
        integrate(metrics_of([1.0, 2.0]), weights)


def test_coarse_metrics_of_weight_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    rows = 101
    few: list[float | None] = [float(i % 9) for i in range(rows)]
    many: list[float | None] = [float(i) for i in range(rows)]
    with caplog.at_level(logging.WARNING, "crowdselect"):
        integrate(metrics_of(many, few, few), (1, 1, 0))
    assert [r.getMessage() for r in caplog.records] == [
        "separability has only 9 distinct values over 101 eligible rows: its quantiles are coarse"
    ]
    caplog.clear()
    ten: list[float | None] = [float(i % 10) for i in range(rows)]
    integrate(metrics_of(many, ten), (1, 1, 0))
    integrate(metrics_of(many, few).head(100), (1, 1, 0))
    assert not caplog.records


def test_frames_that_cannot_be() -> None:
    metrics = metrics_of([1.0, 2.0])
    for column in REQUIRED:
        with pytest.raises(DatasetError, match=f"column '{column}' is missing"):
            integrate(metrics.drop(column))
    with pytest.raises(DatasetError, match="did you mean 'stabilty'"):
        integrate(metrics.rename({"stability": "stabilty"}))
    with pytest.raises(DatasetError, match="'difficulty' is String, expected Float64"):
        integrate(metrics.with_columns(pl.col("difficulty").cast(pl.String)))
    with pytest.raises(DatasetError, match="'answerable' is Int32, expected Boolean"):
        integrate(metrics.with_columns(answerable=pl.lit(1)))
    with pytest.raises(DatasetError, match=r"1 duplicate ids, e\.g\. 'r0'"):
        integrate(pl.concat([metrics, metrics.head(1)]))
    with pytest.raises(DatasetError, match="1 rows have no instruction_id"):
        integrate(metrics.with_columns(instruction_id=pl.Series(["a", None])))


def test_a_ranking_can_be_integrated_again() -> None:
    ranking = integrate(metrics_of([1.0, 2.0, None]), (1, 1, 2))
    again = integrate(ranking, (-1, 0, 0))
    assert again.columns == list(RANKING)
    assert again["score"].to_list() == [0.0, -1.0, None]


def test_no_rows_and_no_eligible_row() -> None:
    assert integrate(metrics_of([])).schema == pl.Schema(RANKING)
    nobody = integrate(metrics_of([None, None]))
    assert nobody["score"].to_list() == [None, None]
    assert eligibility_counts(nobody) == {"no_difficulty": 2}


def test_stability_needs_a_family_of_two_sizes() -> None:
    def model(name: str, family: str, size: float) -> CrowdModel:
        return CrowdModel(name=name, family=family, size=size)

    apart = [model("x", "f", 1), model("y", "g", 2)]
    alike = [model("x", "f", 7), model("y", "f", 7)]
    for crowd in (apart, alike):
        with pytest.raises(CrowdError, match=r"same family.*or give stability no weight"):
            check_families(crowd, (1, 1, 2, 0))
        check_families(crowd, (1, 1, 0, 0))
    check_families(read_crowd("paper").crowd, (1, 1, -2, 0))
