"""Overlaps, and what chance gives, against enumeration, scipy and numbers derived by hand."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom

from crowdselect_core.experiment.choices import Choice
from crowdselect_core.experiment.overlaps import chance, overlaps
from crowdselect_core.experiment.schemas import OVERLAPS
from crowdselect_core.selection.candidates import Candidates


def ranked(n: int, clusters: Sequence[int] | None = None) -> Candidates:
    groups = None if clusters is None else np.array(clusters)
    return Candidates(np.zeros(n), np.ones(n, dtype=bool), groups)


def choice(cell: str, rows: Sequence[int], of: Candidates, replicate: int = 0) -> Choice:
    return Choice(cell, replicate, 2.0, np.array(rows, dtype=np.int32), of)


def test_chance_of_two_of_four_by_hand() -> None:
    # P(0, 1, 2 shared) = 1/6, 4/6, 1/6; Jaccard 0, 1/3, 1: 4/18 + 3/18 = 7/18. Mean overlap 1.
    shared, index = chance(((4, 2, 2),))
    assert shared == pytest.approx(1)
    assert index == pytest.approx(7 / 18)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_chance_equals_an_enumeration_of_all_choices(data: st.DataObject) -> None:
    rows = data.draw(st.integers(1, 7))
    a, b = (data.draw(st.integers(0, rows)) for _ in range(2))
    fixed = set(range(a))
    drawn = [set(c) for c in combinations(range(rows), b)]
    indices = [len(fixed & d) / len(fixed | d) if fixed | d else 0.0 for d in drawn]
    shared, index = chance(((rows, a, b),))
    assert index == pytest.approx(sum(indices) / len(indices))
    assert shared == pytest.approx(a * b / rows)


def test_chance_of_a_large_pool_equals_scipys() -> None:
    k = np.arange(0, 1001)
    weights = hypergeom.pmf(k, 100_000, 1000, 5000)
    expected = float((weights * k / (6000 - k)).sum())
    assert chance(((100_000, 1000, 5000),)) == pytest.approx((50.0, expected))


def test_chance_inside_clusters_by_hand() -> None:
    # one of two in each of two clusters: 0, 1, 2 shared with 1/4, 1/2, 1/4; Jaccard 0, 1/3, 1:
    # 1/6 + 1/4 = 5/12, and not the 7/18 of two of four
    shared, index = chance(((2, 1, 1), (2, 1, 1)))
    assert shared == pytest.approx(1)
    assert index == pytest.approx(5 / 12)


def test_clusters_count_only_where_both_arms_have_them() -> None:
    groups = ranked(4, [0, 0, 1, 1])
    bare = Candidates(groups.score_N, groups.eligible_N)
    both = [choice("a", [0, 2], groups), choice("b", [0, 3], groups)]
    assert overlaps(both, None)["expected"].to_list() == pytest.approx([5 / 12])
    one = [choice("a", [0, 2], groups), choice("b", [0, 3], bare)]
    assert overlaps(one, None)["expected"].to_list() == pytest.approx([7 / 18])


def test_an_overlap_by_hand() -> None:
    pool = ranked(4)
    table = overlaps([choice("a", [0, 1], pool), choice("b", [1, 2], pool)], None)
    assert dict(table.schema) == dict(OVERLAPS)
    (found,) = table.to_dicts()
    assert found["jaccard"] == pytest.approx(1 / 3)
    assert found["expected"] == pytest.approx(7 / 18)
    assert (found["low"], found["high"]) == (None, None)


def test_over_replicates_there_is_an_interval_inside_0_and_1() -> None:
    pool = ranked(4)
    made = [
        *(choice("a", [0, 1], pool, r) for r in range(3)),
        choice("b", [0, 1], pool, 0),
        choice("b", [1, 2], pool, 1),
        choice("b", [2, 3], pool, 2),
        choice("c", [0, 1], pool, 2),
    ]
    table = overlaps(made, None)
    rows = {(r["a"], r["b"]): r for r in table.to_dicts()}
    assert set(rows) == {("a", "b"), ("a", "c"), ("b", "c")}
    assert rows["a", "b"]["jaccard"] == pytest.approx(4 / 9)  # 1, 1/3, 0
    assert (rows["a", "b"]["low"], rows["a", "b"]["high"]) == (0, 1)  # +- 1.27 before the cut
    assert rows["a", "c"]["jaccard"] == 1
    assert rows["b", "c"]["jaccard"] == 0


def test_rows_that_one_arm_may_not_choose_lower_chance() -> None:
    # a chooses 2 of 4, b 1 of the first two of these: b's row is a's with chance 1/2
    half = Candidates(np.zeros(4), np.array([True, True, False, False]))
    made = [choice("a", [0, 3], ranked(4)), choice("b", [1], half)]
    # 4 * 2 / 2 = 4 rows: 2 and 1 of 4 share 1/2 on average, Jaccard 1/2 or 0
    assert overlaps(made, None)["expected"].to_list() == pytest.approx([1 / 4])


def test_budgets_are_kept_apart() -> None:
    pool = ranked(4)
    other = Choice("b", 0, 1.0, np.array([0], dtype=np.int32), pool)
    assert overlaps([choice("a", [0, 1], pool), other], None).is_empty()
