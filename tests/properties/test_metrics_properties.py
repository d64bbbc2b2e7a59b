"""What must hold of the metrics and of the moments of reward models whatever the scores.

The scores are drawn to hurt: few distinct values (so ties abound) and gaps of every kind.
"""

import math

import numpy as np
import polars as pl
from hypothesis import assume, given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from crowdselect_core.config.crowd import CrowdModel
from crowdselect_core.metrics.combine import combine, moments
from crowdselect_core.metrics.foundation_metrics import crowd_metrics
from crowdselect_core.selection.integration import integrate

SEEDS = st.integers(0, 99)
FEW = st.integers(-16, 16).map(lambda n: n / 8)
SCORES = st.one_of(FEW, st.floats(-50, 50), st.sampled_from([None, math.nan, math.inf, -math.inf]))
CROWD = [
    CrowdModel(name=name, family=family, size=size)
    for name, family, size in [
        ("z", "one", 1),
        ("y", "one", 2),
        ("x", "one", 2),
        ("w", "two", 9),
        ("v", "two", 3),
        ("u", "alone", 5),
    ]
]


@st.composite
def wide_frames(draw: st.DrawFn) -> pl.DataFrame:
    rows = draw(st.integers(1, 30))
    columns = {
        m.name: pl.Series(
            draw(st.lists(SCORES, min_size=rows, max_size=rows)), dtype=pl.Float64, strict=False
        )
        for m in CROWD
    }
    return pl.DataFrame({"instruction_id": ids(rows)} | columns)


def ids(rows: int) -> list[str]:
    """Make ids whose order is not that of the rows."""
    return [f"{i * 7919 % 10_007:05}" for i in range(rows)]


def shuffled(frame: pl.DataFrame, seed: int) -> pl.DataFrame:
    return frame.sample(fraction=1.0, shuffle=True, seed=seed)


@given(wide_frames(), st.permutations(CROWD), SEEDS)
def test_the_order_of_crowd_columns_and_rows_changes_no_bit(
    frame: pl.DataFrame, crowd: list[CrowdModel], seed: int
) -> None:
    expected = crowd_metrics(frame, CROWD)
    columns = [m.name for m in crowd]
    other = shuffled(frame.select([*reversed(columns), "instruction_id"]), seed)
    got = crowd_metrics(other, crowd)
    assert got["instruction_id"].equals(other["instruction_id"])
    order = "instruction_id"
    assert_frame_equal(got.sort(order), expected.sort(order), check_exact=True)
    for weights in ((1, 1, 2), (0, 1, 0)):
        a, b = integrate(got, weights), integrate(expected, weights)
        assert_frame_equal(a.sort(order), b.sort(order), check_exact=True)


@given(wide_frames())
def test_metrics_are_null_exactly_where_undefined_and_in_range(frame: pl.DataFrame) -> None:
    for row in crowd_metrics(frame, CROWD).iter_rows(named=True):
        assert (row["difficulty"] is None) == (row["n_scores"] < 1)
        assert (row["separability"] is None) == (row["n_scores"] < 2)
        assert row["separability"] is None or row["separability"] >= 0
        assert row["stability"] is None or -1 <= row["stability"] <= 1
        assert not any(isinstance(v, float) and math.isnan(v) for v in row.values())


@given(wide_frames())
def test_a_model_in_no_comparable_family_leaves_stability_alone(frame: pl.DataFrame) -> None:
    without = [m for m in CROWD if m.family != "alone"]
    expected = crowd_metrics(frame, without)["stability"]
    assert crowd_metrics(frame, CROWD)["stability"].equals(expected)


@given(st.lists(st.lists(SCORES.filter(lambda s: s is not None), max_size=9), max_size=9), SEEDS)
def test_shards_change_no_bit_of_moments_and_scores(shards: list[list[float]], seed: int) -> None:
    arrays = [np.array(s, dtype=np.float64) for s in shards]
    whole = np.concatenate([*arrays, np.empty(0)])
    expected = moments(lambda: [whole])
    assert moments(lambda: iter(arrays)) == expected
    mixed = np.random.default_rng(seed).permutation(whole)
    assert moments(lambda: iter(np.array_split(mixed, 3))) == expected
    assume(expected.std > 0)
    given_moments = {"a": expected, "b": expected}
    joined = combine({"a": whole, "b": whole[::-1]}, given_moments)
    cut = len(whole) // 2
    parts = [
        combine({"a": whole[s], "b": whole[::-1][s]}, given_moments)
        for s in (slice(0, cut), slice(cut, None))
    ]
    np.testing.assert_array_equal(np.concatenate(parts), joined)
