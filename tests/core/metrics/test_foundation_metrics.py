"""The three metrics, derived by hand, and the frames and crowds they refuse."""

import math
from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest

from crowdselect_core.config.crowd import CrowdModel
from crowdselect_core.errors import CrowdError, DatasetError
from crowdselect_core.metrics.foundation_metrics import crowd_metrics, crowd_metrics_NM
from crowdselect_core.tables import METRICS, check

NAN, INF = math.nan, math.inf


def crowd_of(**sizes_of: Sequence[float]) -> list[CrowdModel]:
    """Make families by name from their sizes; models are a0, a1, ... in the order given."""
    return [
        CrowdModel(name=f"{family}{i}", family=family, size=size)
        for family, sizes in sizes_of.items()
        for i, size in enumerate(sizes)
    ]


def one_row(crowd: list[CrowdModel], *scores: float | None) -> dict[str, float | None]:
    frame = pl.DataFrame(
        {"instruction_id": ["x"]}
        | {m.name: pl.Series([s], dtype=pl.Float64) for m, s in zip(crowd, scores, strict=True)}
    )
    return crowd_metrics(frame, crowd).row(0, named=True)


def test_one_row_by_hand() -> None:
    # mean = (1 + 2 + 6 + 3) / 4 = 3; squared deviations 4 + 1 + 9 + 0 = 14, over 4 = 3.5;
    # family a rises with size: rho 1; family b has one model and does not qualify
    got = one_row(crowd_of(a=[1, 2, 3], b=[8]), 1.0, 2.0, 6.0, 3.0)
    assert got == {
        "instruction_id": "x",
        "n_scores": 4,
        "difficulty": -3.0,
        "separability": 3.5,
        "stability": 1.0,
        "headroom": None,
    }


@pytest.mark.parametrize(
    ("sizes", "scores", "rho"),
    [
        ([1, 2, 3], [3.0, 2.0, 1.0], -1.0),
        # ranks 1.5 1.5 3, centred -.5 -.5 1; sizes -1 0 1: 1.5 / sqrt(1.5 * 2)
        ([1, 2, 3], [1.0, 1.0, 2.0], 1.5 / math.sqrt(3)),
        # the tie on the other side, the same number
        ([7, 7, 70], [1.0, 2.0, 3.0], 1.5 / math.sqrt(3)),
        # sizes -.5 -.5 1; scores 1 3 2 are -1 1 0: .5 - .5 + 0
        ([7, 7, 70], [1.0, 3.0, 2.0], 0.0),
        # ties on both sides that agree: both are -1 -1 1 1 (times .5)
        ([7, 7, 70, 70], [5.0, 5.0, 9.0, 9.0], 1.0),
        # the middle is missing: sizes 1 and 3 with 5 and 3 fall
        ([1, 2, 3], [5.0, None, 3.0], -1.0),
        # the rank of the missing model must not count: sizes 1 2 4 with 1 3 2 are
        # -1 0 1 and -1 1 0: 1 / 2
        ([1, 2, 3, 4], [1.0, 3.0, None, 2.0], 0.5),
        # sizes given in no order, and names (a0, a1, a2) in another than sizes
        ([30, 1, 7], [9.0, 1.0, 4.0], 1.0),
    ],
)
def test_stability_of_one_family(
    sizes: list[float], scores: list[float | None], rho: float
) -> None:
    assert one_row(crowd_of(a=sizes), *scores)["stability"] == pytest.approx(rho, abs=1e-15)


def test_stability_is_the_mean_over_families_whatever_their_size() -> None:
    # a: five models, rho 1; b: two models, rho -1; c: .866; d has one model and is out
    crowd = crowd_of(a=[1, 2, 3, 4, 5], b=[1, 2], c=[1, 2, 3], d=[4])
    got = one_row(crowd, *[1.0, 2.0, 3.0, 4.0, 5.0], *[2.0, 1.0], *[1.0, 1.0, 2.0], 9.0)
    assert got["stability"] == pytest.approx((1 - 1 + 1.5 / math.sqrt(3)) / 3, abs=1e-15)


@pytest.mark.parametrize(
    ("b_sizes", "b_scores"),
    [
        ([1, 2], [4.0, 4.0]),  # all its scores are equal
        ([7, 7], [1.0, 4.0]),  # all its sizes are equal
        ([1, 2], [4.0, None]),  # one model has a score
        ([7, 7, 9], [1.0, 4.0, None]),  # what is left is of one size
    ],
)
def test_a_family_without_rho_leaves_the_mean(
    b_sizes: list[float], b_scores: list[float | None]
) -> None:
    got = one_row(crowd_of(a=[1, 2], b=b_sizes), 1.0, 2.0, *b_scores)
    assert got["stability"] == 1.0  # and not (1 + 0) / 2


def test_equal_scores_have_no_stability_and_exactly_no_variance() -> None:
    # 0.1 + 0.1 + 0.1 is not 0.3 in binary; the noise must not reach the metrics
    got = one_row(crowd_of(a=[1, 2, 3]), 0.1, 0.1, 0.1)
    assert (got["difficulty"], got["separability"], got["stability"]) == (-0.1, 0.0, None)


@pytest.mark.parametrize("gap", [None, NAN, INF, -INF])
def test_null_nan_and_infinite_are_missing(gap: float | None) -> None:
    # 2 and 4 are left: mean 3, variance 1; family b is left without a pair
    got = one_row(crowd_of(a=[1, 2], b=[1, 2]), 2.0, 4.0, gap, gap)
    assert list(got.values()) == ["x", 2, -3.0, 1.0, 1.0, None]


def test_scores_that_are_too_large_for_a_variance_are_told_and_do_not_rank_first() -> None:
    crowd, row = crowd_of(a=[1, 2]), [[1.0, 2.0], [1e308, -1e308]]
    scores = pl.DataFrame([["x", "y"], *zip(*row, strict=True)], ["instruction_id", "a0", "a1"])
    with pytest.raises(DatasetError, match="instruction 'y': its scores are too large for a mean"):
        crowd_metrics(scores, crowd)
    with pytest.raises(DatasetError, match=r"row 1 \(from 0\): its scores are too large"):
        crowd_metrics_NM(np.array(row), crowd)


@pytest.mark.parametrize("gap", [None, NAN, INF])
def test_one_score_and_no_score(gap: float | None) -> None:
    crowd = crowd_of(a=[1, 2], b=[1, 2])
    assert list(one_row(crowd, gap, 5.0, gap, gap).values()) == ["x", 1, -5.0, None, None, None]
    assert list(one_row(crowd, gap, gap, gap, gap).values()) == ["x", 0, None, None, None, None]


def test_zero_mean_gives_zero_and_not_minus_zero() -> None:
    difficulty = one_row(crowd_of(a=[1, 2]), -1.0, 1.0)["difficulty"]
    assert str(difficulty) == "0.0"


def test_columns_of_other_types_are_cast_and_others_ignored() -> None:
    frame = pl.DataFrame(
        {
            "a2": [None, None],
            "prompt": ["p", "q"],
            "a1": pl.Series([2, 4], dtype=pl.Int32),
            "instruction_id": ["x", "y"],
            "a0": pl.Series([0.5, None], dtype=pl.Float32),
        }
    )
    got = crowd_metrics(frame, crowd_of(a=[1, 2, 3]))
    check(got, METRICS, "metrics")
    # x: .5 and 2: mean 1.25, deviations .75 each; y: 4 alone
    assert got.rows() == [("x", 2, -1.25, 0.5625, 1.0, None), ("y", 1, -4.0, None, None, None)]


def test_no_rows() -> None:
    crowd = crowd_of(a=[1, 2])
    empty = pl.DataFrame(schema={"instruction_id": pl.String, "a0": pl.Float64, "a1": pl.Float64})
    got = crowd_metrics(empty, crowd)
    assert got.schema == pl.Schema(METRICS)
    assert got.is_empty()
    assert crowd_metrics_NM(np.empty((0, 2)), crowd).is_empty()


def test_a_missing_column_shows_both_lists_and_the_nearest_name() -> None:
    frame = pl.DataFrame({"instruction_id": ["x"], "Qwen2.5-7B": [1.0], "gemma": [2.0]})
    crowd = [
        CrowdModel(name="Qwen2.5-7b", family="q", size=7),
        CrowdModel(name="gemma", family="g", size=2),
    ]
    with pytest.raises(CrowdError) as caught:
        crowd_metrics(frame, crowd)
    message = str(caught.value)
    assert "did you mean 'Qwen2.5-7B'?" in message
    assert "crowd: Qwen2.5-7b, gemma; columns: Qwen2.5-7B, gemma" in message
    assert "\n" not in message


@pytest.mark.parametrize("values", [["1.5"], [[1.0]]])
def test_a_column_that_is_not_numeric_is_refused(values: list[object]) -> None:
    frame = pl.DataFrame({"instruction_id": ["x"], "a0": values, "a1": [1.0]})
    with pytest.raises(CrowdError, match=r"column 'a0' is .*expected numbers"):
        crowd_metrics(frame, crowd_of(a=[1, 2]))


def test_crowds_and_frames_that_cannot_be() -> None:
    frame = pl.DataFrame({"instruction_id": ["x"], "a0": [1.0]})
    model = CrowdModel(name="a0", family="a", size=1)
    with pytest.raises(CrowdError, match="empty"):
        crowd_metrics(frame, [])
    with pytest.raises(CrowdError, match="twice"):
        crowd_metrics(frame, [model, model])
    with pytest.raises(DatasetError, match="'instruction_id' is missing"):
        crowd_metrics(frame.drop("instruction_id"), [model])
    with pytest.raises(DatasetError, match="Int64, expected String"):
        crowd_metrics(frame.with_columns(instruction_id=pl.lit(1, pl.Int64)), [model])
    with pytest.raises(CrowdError, match=r"shape \(3, 2\), expected \(rows, 1\)"):
        crowd_metrics_NM(np.zeros((3, 2)), [model])
