"""Means, wins, kept answers and correlations of a crowd, against values derived by hand."""

import math

import numpy as np
import polars as pl
import pytest
from scipy import stats

from crowdselect_core.config.crowd import CrowdModel
from crowdselect_core.report.crowd_figures import (
    CrowdTally,
    kept_counts,
    metric_correlations,
)

NAN = math.nan
CROWD = [CrowdModel(name=n, family=f, size=s) for n, f, s in
         (("a", "y", 7), ("b", "x", 2), ("c", "x", 1))]  # fmt: skip


def tallied(scores: list[list[float]], cuts: int = 1) -> CrowdTally:
    tally = CrowdTally(CROWD)
    for block in np.array_split(np.array(scores), cuts):
        tally.add(block)
    return tally


def test_means_and_intervals_by_hand() -> None:
    found = {m.name: m for m in tallied([[1, 5, NAN], [3, NAN, NAN]]).means()}
    assert (found["a"].mean, found["a"].rows) == (2, 2)
    # s = sqrt(2), s / sqrt(2) = 1: the interval is 1.96 to either side
    assert found["a"].low == pytest.approx(2 - 1.959964)
    assert found["a"].high == pytest.approx(2 + 1.959964)
    assert (found["b"].mean, found["b"].rows) == (5, 1)
    assert math.isnan(found["b"].low)
    assert found["c"].rows == 0
    assert math.isnan(found["c"].mean)
    assert [m.name for m in tallied([[1, 2, 3]]).means()] == ["c", "b", "a"]  # family, size


@pytest.mark.parametrize("cuts", [1, 2, 7])
def test_blocks_change_nothing(cuts: int) -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(1e6, 1, (50, 3))
    scores[rng.random(scores.shape) < 0.2] = NAN
    tally = tallied(scores.tolist(), cuts)
    for model, column in zip(CROWD, scores.T, strict=True):
        (found,) = [m for m in tally.means() if m.name == model.name]
        known = column[~np.isnan(column)]
        error = stats.sem(known)
        assert found.mean == pytest.approx(known.mean(), rel=1e-12)
        assert found.high - found.mean == pytest.approx(stats.norm.ppf(0.975) * error, rel=1e-4)
    np.testing.assert_allclose(tally.win_rates(), tallied(scores.tolist()).win_rates())


def test_win_rates_by_hand() -> None:
    rates = tallied([[1, 2, NAN], [2, 2, 0], [3, 1, 0], [NAN, 1, 1]]).win_rates()
    # a against b: lost, tied, won; a against c: won twice; b against c: won, won, tied
    expected = [[NAN, 0.5, 1], [0.5, NAN, 2.5 / 3], [0, 0.5 / 3, NAN]]
    np.testing.assert_allclose(rates, expected)
    assert np.isnan(tallied([[1, NAN, NAN]]).win_rates()).all()


def test_kept_counts() -> None:
    selection = pl.DataFrame({"response_model": ["b", "a", "b", None]})
    assert list(kept_counts(selection, CROWD).items()) == [("c", 0), ("b", 2), ("a", 1)]


def test_correlations_are_those_of_scipy_over_eligible_rows() -> None:
    rng = np.random.default_rng(1)
    table = pl.DataFrame(
        {
            "eligible": rng.random(60) < 0.8,
            "one": rng.integers(0, 8, 60).astype(float),
            "two": rng.normal(size=60),
            "flat": np.ones(60),
        }
    ).with_columns(two=pl.when(pl.int_range(60) % 9 > 0).then("two"))
    rho = metric_correlations(table, ["one", "two", "flat"])
    rows = table.filter("eligible").drop_nulls()
    assert rho[0, 1] == pytest.approx(stats.spearmanr(rows["one"], rows["two"]).statistic)
    assert rho[1, 0] == rho[0, 1]
    assert rho[0, 0] == pytest.approx(1)
    assert np.isnan(rho[2]).all()
