"""Rows that a budget cannot reach are left out before anything is sorted: no choice changes."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crowdselect_core.selection.candidates import Candidates, choose_by_budgets
from crowdselect_core.selection.quota_allocation import QUOTAS, choose
from crowdselect_core.selection.rank_order import best_of_groups

# score, whether it is eligible, cluster; few scores, so that many rows tie at the cut
ROWS = st.lists(
    st.tuples(st.integers(0, 5), st.booleans(), st.integers(0, 3)), min_size=1, max_size=60
)


@settings(max_examples=200, deadline=None)
@given(ROWS, st.sampled_from(QUOTAS), st.booleans(), st.data())
def test_choices_are_those_among_all_rows_in_order(
    rows: list[tuple[int, bool, int]], quota: str, clustered: bool, data: st.DataObject
) -> None:
    ids = pl.Series([f"{i:02d}" for i in data.draw(st.permutations(range(len(rows))))])
    candidates = Candidates(
        score_N=np.array([float(score) for score, _, _ in rows]),
        eligible_N=np.array([eligible for _, eligible, _ in rows]),
        cluster_N=np.array([cluster for _, _, cluster in rows]) if clustered else None,
        ids_of=lambda rows_K: ids[rows_K],
    )
    eligible = int(candidates.eligible_N.sum())
    if not eligible:
        return
    budgets = data.draw(st.lists(st.integers(1, eligible), min_size=1, max_size=3))
    order_E, layout = candidates.laid_out(*candidates.eligible())
    found = choose_by_budgets(candidates, budgets, quota, warn=lambda note: None)
    for budget, rows_B in zip(budgets, found, strict=True):
        assert rows_B.tolist() == order_E[choose(layout, budget, quota)].tolist()


@pytest.mark.parametrize(
    ("most", "places"),
    [(1, [1, 3, 4]), (2, [0, 1, 3, 4]), (3, [0, 1, 2, 3, 4, 5])],
)
def test_the_best_of_each_group_with_all_that_tie_at_the_cut(most: int, places: list[int]) -> None:
    """Group 0 has 2, 3, 1; group 1 has 5, 5, 4: both 5s are there for one, and are the two best."""
    score_E = np.array([2.0, 3.0, 1.0, 5.0, 5.0, 4.0])
    group_E = np.array([0, 0, 0, 1, 1, 1], dtype=np.int16)
    found = best_of_groups(score_E, group_E, most)
    assert sorted(found.tolist()) == places
