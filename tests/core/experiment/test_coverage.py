"""The simulation, and that what the verdicts quote of it is what it gives."""

import numpy as np
import pytest

from crowdselect_core.experiment.coverage import SCENARIOS, Scenario, differences, simulate
from crowdselect_core.experiment.verdict import COVERAGE


def test_the_intervals_hold_the_truth_where_replicates_correlate_by_the_held_out_share() -> None:
    # 2,000 draws of a 95 % interval have a standard error of half a point
    found = simulate(SCENARIOS[0], counts=(10, 20, 50), draws=2000, seed=1)
    assert found.correlation == pytest.approx(SCENARIOS[0].heldout, abs=0.05)
    for one in found.coverage:
        assert 0.93 <= one.corrected <= 0.97
        assert one.plain < 0.75  # what the correction is for


def test_the_verdicts_quote_coverage_of_the_simulated_kind() -> None:
    assert set(COVERAGE) == {3, 5, 10, 20, 50}
    for low, high in COVERAGE.values():
        assert 0.5 < low <= high <= 1.0
    found = simulate(SCENARIOS[0], counts=tuple(COVERAGE), draws=300, seed=2)
    for (low, high), one in zip(COVERAGE.values(), found.coverage, strict=True):
        assert low - 0.04 <= one.corrected <= high + 0.04


def test_sign_flips_find_too_much_where_replicates_overlap() -> None:
    # what the docs warn of: p of independent replicates would be at most 0.05 in 5 of 100
    overlapping = simulate(SCENARIOS[0], counts=(10,), draws=200, seed=0).rejected
    apart = Scenario("apart", rows=2000, heldout=0.01, effect=1.0, converged=True)
    independent = simulate(apart, counts=(10,), draws=200, seed=0).rejected
    assert overlapping is not None
    assert independent is not None
    assert overlapping > 0.2 > 0.12 > independent
    assert simulate(SCENARIOS[0], counts=(2,), draws=5).rejected is None


def test_replicates_differ_and_a_seed_gives_them_again() -> None:
    first, again = (differences(SCENARIOS[0], 4, np.random.default_rng(7)) for _ in range(2))
    assert len(set(first.tolist())) == 4
    assert first.tolist() == again.tolist()
