"""The quota, the budgets and what selection says when it cannot, by hand."""

import logging
from typing import Any

import polars as pl
import pytest

from crowdselect_core.errors import ConfigError, DatasetError, SelectionError
from crowdselect_core.selection.quota import select, select_by_tokens
from crowdselect_core.selection.row_budget import rows_of_budget

Row = tuple[str, float, int]  # id, score, cluster


def ranking_of(rows: list[Row], barred: int = 0) -> pl.DataFrame:
    """Make a ranking of these rows, and of some that are not eligible."""
    out = [(f"out{i}", None, False, "too_few_scores") for i in range(barred)]
    return pl.DataFrame(
        [(i, s, True, None) for i, s, _ in rows] + out,
        schema={
            "instruction_id": pl.String,
            "score": pl.Float64,
            "eligible": pl.Boolean,
            "reason": pl.String,
        },
        orient="row",
    ).with_columns(cluster_id=pl.lit(None, dtype=pl.Int64))


def clusters_of(rows: list[Row]) -> pl.DataFrame:
    schema = {"instruction_id": pl.String, "cluster_id": pl.Int64}
    return pl.DataFrame([(i, c) for i, _, c in rows], schema=schema, orient="row")


def ids_of(frame: pl.DataFrame) -> list[str]:
    return frame["instruction_id"].to_list()


def chosen(rows: list[Row], budget: int | float, quota: str = "equal", **more: Any) -> list[str]:
    return ids_of(select(ranking_of(rows), clusters_of(rows), budget, quota, **more))


# cluster 0 has five rows, cluster 1 has one, cluster 2 has three
NINE: list[Row] = [
    ("a1", 0.9, 0), ("a2", 0.8, 0), ("a3", 0.7, 0), ("a4", 0.6, 0), ("a5", 0.5, 0),
    ("b1", 0.1, 1),
    ("c1", 0.95, 2), ("c2", 0.75, 2), ("c3", 0.65, 2),
]  # fmt: skip


@pytest.mark.parametrize(
    ("budget", "ids"),
    [
        (1, "c1"),  # T = 0, one left: the best of all next rows
        (2, "c1 a1"),
        (3, "c1 a1 b1"),  # T = 1
        (4, "c1 a1 a2 b1"),  # T = 1, one left: a2 (.8) before c2 (.75)
        (5, "c1 a1 a2 c2 b1"),  # T = 2: 2 + 1 + 2
        (6, "c1 a1 a2 c2 a3 b1"),  # T = 2, one left: a3 (.7) before c3 (.65)
        (7, "c1 a1 a2 c2 a3 c3 b1"),  # T = 3: 3 + 1 + 3
        (8, "c1 a1 a2 c2 a3 c3 a4 b1"),  # T = 4: 4 + 1 + 3
        (9, "c1 a1 a2 c2 a3 c3 a4 a5 b1"),
    ],
)
def test_equal_by_hand(budget: int, ids: str) -> None:
    assert chosen(NINE, budget) == ids.split()


@pytest.mark.parametrize(
    ("budget", "ids"),
    [
        (1, "a1"),  # shares 5/9 1/9 3/9: the one row to the largest remainder
        (2, "c1 a1"),  # 10/9 2/9 6/9: 1 0 0, one left to c
        (3, "c1 a1 a2"),  # 15/9 3/9 9/9: 1 0 1, one left to a (6/9)
        (5, "c1 a1 a2 c2 a3"),  # 25/9 5/9 15/9: 2 0 1, two left to a (7/9) and c (6/9), not b (5/9)
        (6, "c1 a1 a2 c2 a3 b1"),  # 30/9 6/9 18/9: 3 0 2, one left to b (6/9)
        (9, "c1 a1 a2 c2 a3 c3 a4 a5 b1"),
    ],
)
def test_proportional_by_hand(budget: int, ids: str) -> None:
    assert chosen(NINE, budget, "proportional") == ids.split()


def test_equal_remainders_go_to_the_better_next_row() -> None:
    # three rows over two clusters of three: 1.5 each; the next rows are a2 (.2) and b2 (.3)
    rows: list[Row] = [
        ("a1", 0.9, 0), ("a2", 0.2, 0), ("a3", 0.1, 0),
        ("b1", 0.4, 1), ("b2", 0.3, 1), ("b3", 0.0, 1),
    ]  # fmt: skip
    assert chosen(rows, 3, "proportional") == ["a1", "b1", "b2"]


def test_reference_takes_the_best_of_equal_shares() -> None:
    # ceil(4/3) = 2 of each: a1 a2, b1, c1 c2; the best four of those
    assert chosen(NINE, 4, "reference") == ["c1", "a1", "a2", "c2"]


def test_reference_warns_where_it_falls_short(caplog: pytest.LogCaptureFixture) -> None:
    # ceil(6/3) = 2 of each, and cluster 1 has one
    with caplog.at_level(logging.WARNING, "crowdselect"):
        assert chosen(NINE, 6, "reference") == ["c1", "a1", "a2", "c2", "b1"]
    assert "5 rows instead of 6" in caplog.text
    caplog.clear()
    with pytest.raises(SelectionError, match="99 rows, but only 9"):
        chosen(NINE, 99, "reference")


def test_ties_are_broken_by_id() -> None:
    rows: list[Row] = [("b", 0.5, 0), ("a", 0.5, 0), ("d", 0.5, 1), ("c", 0.5, 1), ("Z", 0.1, 1)]
    assert chosen(rows, 2) == ["a", "c"]
    assert chosen(rows, 3) == ["a", "b", "c"]  # both next rows score .5: b before d
    assert chosen(rows, 3, "proportional") == ["a", "c", "d"]  # 6/5, 9/5: the one left to cluster 1
    # 0 and -0 are a tie
    assert chosen([("b", 0.0, 0), ("a", -0.0, 0)], 1) == ["a"]


def test_without_clusters_it_is_the_best() -> None:
    for quota in ("equal", "proportional", "reference"):
        got = select(ranking_of(NINE), None, 3, quota)
        assert ids_of(got) == ["c1", "a1", "a2"]
        assert got["cluster_id"].to_list() == [None] * 3


def test_the_rows_come_out_whole_with_their_cluster() -> None:
    ranking = ranking_of(NINE).with_columns(note=pl.col("instruction_id") + "!")
    shuffled = clusters_of(NINE).sample(fraction=1, shuffle=True, seed=1)
    extra = pl.DataFrame({"instruction_id": ["elsewhere"], "cluster_id": [7]})
    labels = pl.concat([extra, shuffled]).cast({"cluster_id": pl.Int32})  # as scikit-learn's
    got = select(ranking, labels, 4)
    assert got.columns == ranking.columns
    assert got.schema == ranking.schema
    assert got.select("instruction_id", "cluster_id", "note").rows() == [
        ("c1", 2, "c1!"),
        ("a1", 0, "a1!"),
        ("a2", 0, "a2!"),
        ("b1", 1, "b1!"),
    ]


def test_rows_that_are_not_eligible_need_no_cluster_and_count_for_nothing() -> None:
    got = select(ranking_of(NINE, barred=50), clusters_of(NINE), 9, "proportional")
    assert len(got) == 9
    assert got["eligible"].all()


def test_too_few_eligible_rows(caplog: pytest.LogCaptureFixture) -> None:
    ranking = ranking_of(NINE, barred=2)
    message = (
        "the budget is 10 rows, but only 9 of 11 rows are eligible (not eligible: "
        "too_few_scores 2): give a smaller --budget, or --allow-short to take all 9"
    )
    for quota in ("equal", "proportional"):
        with pytest.raises(SelectionError) as caught:
            select(ranking, clusters_of(NINE), 10, quota)
        assert str(caught.value) == message
        caplog.clear()
        with caplog.at_level(logging.WARNING, "crowdselect"):
            got = select(ranking, clusters_of(NINE), 10, quota, allow_short=True)
        assert len(got) == 9
        assert "9 of 11 rows are eligible" in caplog.text


def test_no_eligible_row_is_nothing_to_select_even_if_short_is_allowed() -> None:
    for rows in (0, 3):
        with pytest.raises(SelectionError, match=f"nothing to select: 0 of {rows} rows"):
            select(ranking_of([], barred=rows), None, 1, allow_short=True)


def test_an_eligible_row_without_a_cluster() -> None:
    with pytest.raises(SelectionError, match="1 eligible rows have no cluster"):
        select(ranking_of(NINE), clusters_of(NINE[1:]), 3)
    with pytest.raises(SelectionError, match="9 eligible rows have no cluster"):
        select(ranking_of(NINE), clusters_of(NINE).with_columns(cluster_id=None), 3)


def test_tables_that_cannot_be() -> None:
    ranking, clusters = ranking_of(NINE), clusters_of(NINE)
    with pytest.raises(DatasetError, match=r"clusters: 1 duplicate ids, e\.g\. 'a1'"):
        select(ranking, pl.concat([clusters, clusters.head(1)]), 3)
    with pytest.raises(DatasetError, match="ranking: 9 duplicate ids"):
        select(pl.concat([ranking, ranking]), clusters, 3)
    with pytest.raises(DatasetError, match="'cluster_id' is Float64, expected Int64"):
        select(ranking, clusters.cast({"cluster_id": pl.Float64}), 3)
    for column in ("instruction_id", "score", "eligible"):
        with pytest.raises(DatasetError, match=f"ranking: column '{column}' is missing"):
            select(ranking.drop(column), None, 3)
    for score in (None, float("nan")):
        with pytest.raises(DatasetError, match="9 eligible rows have no finite score"):
            select(ranking.with_columns(score=pl.lit(score, dtype=pl.Float64)), None, 3)
    with pytest.raises(ConfigError, match="did you mean 'equal'"):
        select(ranking, clusters, 3, "equals")


@pytest.mark.parametrize(
    ("budget", "eligible", "rows"),
    [(7, 3, 7), (1, 9, 1), (0.5, 9, 4), (1.0, 9, 9), (0.29, 100, 29), (0.07, 100, 7)],
)
def test_budgets(budget: int | float, eligible: int, rows: int) -> None:
    assert rows_of_budget(budget, eligible) == rows


@pytest.mark.parametrize(
    "budget", [0, -1, 0.0, -0.5, 1.5, 5.0, float("nan"), float("inf"), True, "5", None, 0.01]
)
def test_budgets_that_cannot_be(budget: Any) -> None:
    with pytest.raises(SelectionError, match="budget"):
        rows_of_budget(budget, 99)


def test_a_share_is_of_the_eligible_rows() -> None:
    assert len(select(ranking_of(NINE, barred=91), clusters_of(NINE), 0.34)) == 3


def tokens_of(rows: list[Row], tokens: list[int]) -> pl.DataFrame:
    return pl.DataFrame({"instruction_id": [i for i, _, _ in rows], "tokens": tokens})


def test_tokens_by_hand() -> None:
    rows: list[Row] = [("a", 0.9, 0), ("b", 0.8, 0), ("c", 0.7, 1), ("d", 0.6, 1)]
    tokens = tokens_of(rows, [10, 1, 5, 20])
    ranking, clusters = ranking_of(rows, barred=1), clusters_of(rows)
    # without clusters: a, b, c, d add up to 10, 11, 16, 36
    for budget, ids in [
        (10, "a"),
        (15, "ab"),
        (16, "abc"),
        (35, "abc"),
        (36, "abcd"),
        (99, "abcd"),
    ]:
        assert ids_of(select_by_tokens(ranking, None, tokens, budget)) == list(ids)
    # with them the second row is c: 10, 15, 16, 36
    for budget, ids in [(14, "a"), (15, "ac"), (16, "abc"), (35, "abc"), (36, "abcd")]:
        assert ids_of(select_by_tokens(ranking, clusters, tokens, budget)) == list(ids)


def test_a_first_row_that_is_too_long() -> None:
    with pytest.raises(SelectionError, match=r"'c1', alone has 8 tokens and the budget is 7"):
        select_by_tokens(ranking_of(NINE), None, tokens_of(NINE, [8] * 9), 7)


def test_tokens_that_cannot_be() -> None:
    ranking = ranking_of(NINE)
    for budget in (0, -3, 1.5, True):
        with pytest.raises(SelectionError, match="budget_tokens"):
            select_by_tokens(ranking, None, tokens_of(NINE, [1] * 9), budget)  # type: ignore[arg-type]
    with pytest.raises(DatasetError, match="2 eligible rows have none or fewer than 0"):
        select_by_tokens(ranking, None, tokens_of(NINE[1:], [-1] + [1] * 7), 5)
    with pytest.raises(DatasetError, match="'tokens' is Float64, expected Int64"):
        select_by_tokens(ranking, None, tokens_of(NINE, [1] * 9).cast({"tokens": pl.Float64}), 5)
