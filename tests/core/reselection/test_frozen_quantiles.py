"""Quantiles among rows of reference, by numbers derived by hand."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdselect_core import integrate
from crowdselect_core.selection.quantiles import quantiles, reference_quantiles, references

NAN = float("nan")


def test_a_value_of_reference_keeps_its_own_quantile_and_others_lie_between() -> None:
    # Reference 1, 2, 2, 5: average ranks 1, 2.5, 2.5, 4, so q = 0, 0.5, 0.5, 1.
    sorted_R = np.array([1.0, 2.0, 2.0, 5.0])
    # 3 lies between the second 2 (rank 3) and 5 (rank 4): (3 - 1/2) / 3. 0 and 9 lie beyond.
    found = reference_quantiles(np.array([1.0, 2.0, 5.0, 3.0, 0.0, 9.0, NAN]), sorted_R)
    np.testing.assert_allclose(found, [0, 0.5, 1, 2.5 / 3, 0, 1, NAN], rtol=1e-12)


def test_one_row_of_reference_or_none() -> None:
    np.testing.assert_array_equal(
        reference_quantiles(np.array([7.0, NAN]), np.array([1.0])), [0.5, NAN]
    )
    np.testing.assert_array_equal(reference_quantiles(np.array([7.0]), np.array([])), [NAN])


@given(st.lists(st.integers(-5, 5), min_size=2, max_size=30))
def test_rows_measured_by_themselves_are_ranked_as_ever(values: list[int]) -> None:
    own = np.array(values, dtype=float)
    exact = quantiles(own, np.ones(len(own), dtype=bool))
    np.testing.assert_allclose(reference_quantiles(own, np.sort(own)), exact, rtol=1e-12)


def frame(**columns: list[float | None]) -> pl.DataFrame:
    rows = len(next(iter(columns.values())))
    base = {
        "instruction_id": [f"r{i}" for i in range(rows)], "n_scores": [3] * rows,
        "difficulty": [0.0] * rows, "separability": [0.0] * rows, "stability": [0.0] * rows,
    }  # fmt: skip
    return pl.DataFrame(base | columns)


def test_new_rows_are_ranked_among_the_eligible_rows_of_reference() -> None:
    base = integrate(
        frame(difficulty=[1.0, 2.0, 3.0, 100.0]).with_columns(n_scores=pl.Series([3, 3, 3, 1])),
        weights=(1, 0, 0),
    )
    new = integrate(
        frame(difficulty=[2.0, 50.0, None]), weights=(1, 0, 0), sorted_R_of=references(base)
    )
    # The row of 100 is not eligible (one score), so 50 is beyond the end.
    assert new["score"].to_list() == pytest.approx([0.5, 1.0, None])
    assert new["reason"].to_list() == [None, None, "no_difficulty"]
