"""Intervals, sign flips, Holm and power against numbers derived by hand, and against scipy."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from crowdselect_core.experiment.statistics import (
    holm,
    noncentrality,
    paired,
    sign_flip_p,
    standard_error,
    t_interval,
    variance_factor,
)

VALUES = st.lists(st.floats(-10, 10, allow_nan=False), min_size=2, max_size=12)


def test_the_interval_of_three_replicates_by_hand() -> None:
    # 1, 2, 3: mean 2, s = 1. Held out 1/5: 1/3 + (1/5)/(4/5) = 1/3 + 1/4 = 7/12.
    # t(0.975, 2) = 4.30265, half = 4.30265 * sqrt(7/12) = 4.30265 * 0.763763 = 3.28621
    found = paired(np.array([1.0, 2.0, 3.0]), 0.2)
    assert found.difference == 2
    assert found.low == pytest.approx(2 - 3.28621, abs=1e-4)
    assert found.high == pytest.approx(2 + 3.28621, abs=1e-4)
    assert found.replicates == 3
    # all three are positive: of 8 signs only +++ and --- give a mean as large
    assert found.p == 0.25


def test_without_a_split_it_is_the_plain_t_interval() -> None:
    values = np.array([0.3, -0.1, 0.4, 0.2, 0.0])
    scipys = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert t_interval(values, None) == pytest.approx((0.16, scipys.low, scipys.high))


def test_the_factor_by_hand() -> None:
    assert variance_factor(10, None) == pytest.approx(0.1)
    assert variance_factor(10, 1 / 3) == pytest.approx(0.6)  # 1/10 + (1/3)/(2/3)
    assert variance_factor(4, 0.5) == pytest.approx(1.25)  # 1/4 + 1


@pytest.mark.parametrize("share", [0.0, 1.0, -0.2, 5.0])
def test_a_share_that_cannot_be_is_an_error(share: float) -> None:
    with pytest.raises(ValueError, match="held-out share"):
        t_interval(np.array([1.0, 2.0]), share)
    with pytest.raises(ValueError, match="held-out share"):
        t_interval(np.array([1.0]), share)


def test_a_single_replicate_has_no_interval() -> None:
    found = paired(np.array([0.5]), 0.2)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert math.isnan(found.detectable)
    assert found.p == 1.0  # + and - give as large a mean


def test_nothing_and_nan_are_errors() -> None:
    with pytest.raises(ValueError, match="no value"):
        paired(np.array([]), None)
    with pytest.raises(ValueError, match="not finite"):
        paired(np.array([1.0, math.nan]), None)


def test_sign_flips_by_hand() -> None:
    # 1, 2, -4: |sum| = 1. The eight sums are -+1, -+3, -+5, -+7 (of 1, 2, 4): all at least 1.
    assert sign_flip_p(np.array([1.0, 2.0, -4.0])) == 1.0
    # 1, 2, 4: |sum| = 7, which 2 of 8 reach
    assert sign_flip_p(np.array([1.0, 2.0, 4.0])) == 0.25
    # 1, 2, 3, -1: |sum| = 5. Absolute sums of +-1 +-2 +-3 +-1, up to the overall sign: with both
    # ones + 7, 3 (2-3+2=1), ...: 1+2+3+1 = 7, 1+2+3-1 = 5, -1+2+3+1 = 5 reach it, the other five
    # (-1+2+3-1 = 3, 1-2+3+1 = 3, 1+2-3+1 = 1, 1+2-3-1 = -1, -1+2-3+1 = -1) do not: 3 of 8
    assert sign_flip_p(np.array([1.0, 2.0, 3.0, -1.0])) == 3 / 8
    assert sign_flip_p(np.zeros(5)) == 1.0


@settings(max_examples=20, deadline=None)
@given(VALUES)
def test_exact_sign_flips_equal_scipys(values: list[float]) -> None:
    rounded = np.round(np.array(values), 3) * 1000  # whole numbers: ties are exact on both sides
    scipys = stats.permutation_test(
        (rounded,), np.sum, permutation_type="samples", n_resamples=np.inf
    )
    assert sign_flip_p(rounded) == pytest.approx(scipys.pvalue)


def test_drawn_sign_flips_are_near_the_exact_ones_and_seeded() -> None:
    values = np.r_[np.full(9, 1.0), np.full(5, -1.0)]
    # |sum| = 4: P(|S| >= 4) of 14 signs = 2 P(Binomial(14, 1/2) >= 9) = 0.42395
    exact = 2 * stats.binom.sf(8, 14, 0.5)
    assert sign_flip_p(values) == pytest.approx(exact, abs=0.01)
    assert sign_flip_p(values, seed=3) == sign_flip_p(values, seed=3)
    assert sign_flip_p(values, seed=3) != sign_flip_p(values, seed=4)


def test_drawn_sign_flips_are_never_zero() -> None:
    assert sign_flip_p(np.full(40, 1.0), draws=1000) == pytest.approx(1 / 1001)


def test_holm_by_hand() -> None:
    # sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1: 0.04, 0.06, 0.06, 0.04 -> never falling
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=20))
def test_holm_is_between_p_and_bonferroni(p: list[float]) -> None:
    for raw, adjusted in zip(p, holm(p), strict=True):
        assert raw <= adjusted <= min(1.0, len(p) * raw) + 1e-12


@pytest.mark.parametrize("replicates", [2, 3, 5, 10, 50])
def test_the_power_is_what_it_is_said_to_be(replicates: int) -> None:
    d, df = noncentrality(replicates), replicates - 1
    limit = stats.t.ppf(0.975, df)
    rng = np.random.default_rng(0)
    drawn = (rng.normal(d, 1, 200_000)) / np.sqrt(rng.chisquare(df, 200_000) / df)
    assert np.mean(np.abs(drawn) > limit) == pytest.approx(0.8, abs=0.005)


def test_many_replicates_need_the_normal_distances() -> None:
    # z(0.975) + z(0.8) = 1.95996 + 0.84162 = 2.80159
    assert noncentrality(100_000) == pytest.approx(2.80159, abs=1e-3)
    assert noncentrality(10) == pytest.approx(3.15, abs=0.02)
    with pytest.raises(ValueError, match="2 or more"):
        noncentrality(1)


def test_the_detectable_difference_has_the_unit_of_the_metric() -> None:
    values = np.array([0.1, 0.3, 0.2, 0.4])
    error = standard_error(values, 0.25)
    # s = 0.1290994, 1/4 + 1/3 = 7/12: 0.0986013
    assert error == pytest.approx(0.0986013, abs=1e-6)
    assert paired(values, 0.25).detectable == pytest.approx(noncentrality(4) * error)
    assert paired(1000 * values, 0.25).detectable == pytest.approx(1000 * noncentrality(4) * error)


@given(VALUES, st.floats(0.01, 0.99))
@settings(max_examples=30, deadline=None)
def test_turning_the_arms_turns_the_interval(values: list[float], share: float) -> None:
    there, back = paired(np.array(values), share), paired(-np.array(values), share)
    assert there.difference == pytest.approx(-back.difference)
    assert there.low == pytest.approx(-back.high)
    assert there.p == back.p
