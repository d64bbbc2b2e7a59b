"""Choices as positions are the rows that `select` returns."""

from random import Random

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crowdselect_core.errors import ConfigError, DatasetError, SelectionError
from crowdselect_core.experiment.choices import Pool
from crowdselect_core.selection.candidates import Candidates
from crowdselect_core.selection.quota import select
from crowdselect_core.selection.ranked_pool import choose_places, placed

ROWS = st.lists(
    st.tuples(st.integers(0, 4), st.booleans(), st.integers(0, 3)), min_size=1, max_size=30
)


@settings(max_examples=60, deadline=None)
@given(ROWS, st.sampled_from(["equal", "proportional", "reference"]), st.booleans(), st.randoms())
def test_the_rows_are_those_of_select(
    rows: list[tuple[int, bool, int]], quota: str, clustered: bool, random: Random
) -> None:
    ids = [f"{i:02d}" for i in range(len(rows))]
    ranking = pl.DataFrame(
        {
            "instruction_id": ids,
            "score": [float(s) for s, _, _ in rows],
            "eligible": [e for _, e, _ in rows],
            "reason": [None if e else "no_answer" for _, e, _ in rows],
        },
        schema_overrides={"reason": pl.String},
    )
    clusters = pl.DataFrame({"instruction_id": ids, "cluster_id": [c for _, _, c in rows]})
    shuffled = ranking[random.sample(range(len(rows)), len(rows))]
    ranked = placed(pl.Series(ids), shuffled, clusters if clustered else None)
    eligible = int(ranking["eligible"].sum())
    budgets = [*range(1, eligible + 1), 0.5][: eligible + (eligible > 1)]
    if not eligible:
        with pytest.raises(SelectionError, match="0 of"):
            choose_places(ranked, [1], quota)
        return
    for budget, rows_B in zip(budgets, choose_places(ranked, budgets, quota), strict=True):
        expected = select(shuffled, clusters if clustered else None, budget, quota)
        assert [ids[i] for i in rows_B] == expected["instruction_id"].to_list()


def ranked(n: int) -> Candidates:
    return Candidates(np.arange(n, dtype=float), np.ones(n, dtype=bool))


def test_too_large_a_budget_is_an_error_or_short() -> None:
    with pytest.raises(SelectionError, match="only 3 of 3 rows are eligible"):
        choose_places(ranked(3), [4])
    assert choose_places(ranked(3), [4], allow_short=True)[0].tolist() == [2, 1, 0]


def test_an_unknown_quota_is_an_error() -> None:
    with pytest.raises(ConfigError, match="did you mean 'equal'"):
        choose_places(ranked(3), [1], "equla")


def test_rows_that_a_ranking_lacks_are_not_eligible() -> None:
    ranking = pl.DataFrame({"instruction_id": ["b"], "score": [1.0], "eligible": [True]})
    found = placed(pl.Series(["a", "b", "c"]), ranking)
    assert found.eligible_N.tolist() == [False, True, False]


def test_rows_outside_of_the_pool_are_an_error() -> None:
    ranking = pl.DataFrame({"instruction_id": ["x"], "score": [1.0], "eligible": [True]})
    with pytest.raises(DatasetError, match="1 of 1 rows are not in the pool"):
        placed(pl.Series(["a"]), ranking)


def test_an_eligible_row_without_a_cluster_is_an_error() -> None:
    ranking = pl.DataFrame({"instruction_id": ["a"], "score": [1.0], "eligible": [True]})
    empty = pl.DataFrame(schema={"instruction_id": pl.String, "cluster_id": pl.Int64})
    with pytest.raises(SelectionError, match="1 eligible rows have no cluster"):
        choose_places(placed(pl.Series(["a"]), ranking, empty), [1])


def test_a_pool_is_in_id_order() -> None:
    with pytest.raises(DatasetError, match="ascending"):
        Pool(pl.Series(["b", "a"]), np.zeros(2, dtype=np.int64), {})
