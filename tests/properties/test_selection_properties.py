"""What must hold of integration and selection whatever the data.

The data are drawn to hurt: few distinct values (so ties abound), gaps, small and skewed clusters.
"""

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from crowdselect_core.selection.integration import integrate
from crowdselect_core.selection.methods.rank import rank
from crowdselect_core.selection.quota import select, select_by_tokens

QUOTAS = ("equal", "proportional", "reference")
EXACT = ("equal", "proportional")
# eighths: doubling, halving and adding small whole numbers to them is exact
FEW = st.integers(-16, 16).map(lambda n: n / 8)
WEIGHTS = st.sampled_from([(1, 1, 2), (1, 1, 1.5), (-1, 2, 0), (0, 0, 1), (1, -1, -2)])


@st.composite
def metric_frames(draw: st.DrawFn, least: int = 1) -> pl.DataFrame:
    rows = draw(st.integers(least, 40))

    def column(values: st.SearchStrategy[float | None]) -> pl.Series:
        return pl.Series(draw(st.lists(values, min_size=rows, max_size=rows)), dtype=pl.Float64)

    return pl.DataFrame(
        {
            "instruction_id": ids(rows),
            "n_scores": pl.Series([2] * rows),
            "difficulty": column(FEW),
            "separability": column(FEW),
            "stability": column(st.one_of(FEW, FEW, FEW, st.none())),
        }
    )


def ids(rows: int) -> list[str]:
    """Make ids whose order is not that of the rows."""
    return [f"{i * 7919 % 10_007:05}" for i in range(rows)]


def clusters_for(frame: pl.DataFrame, count: int, seed: int) -> pl.DataFrame:
    """Put every row into one of `count` clusters, the low ones the fuller."""
    draws = np.random.default_rng(seed).random((2, frame.height))
    cluster_id = pl.Series("cluster_id", (draws.min(axis=0) * count).astype(np.int64))
    return frame.select("instruction_id").with_columns(cluster_id)


def shuffled(frame: pl.DataFrame, seed: int) -> pl.DataFrame:
    return frame.sample(fraction=1.0, shuffle=True, seed=seed)


COUNTS, SEEDS = st.integers(1, 9), st.integers(0, 99)


@given(metric_frames(), WEIGHTS, COUNTS, SEEDS, st.data())
def test_quotas_sum_to_the_budget_and_row_order_changes_nothing(
    metrics: pl.DataFrame,
    weights: tuple[float, float, float],
    count: int,
    seed: int,
    data: st.DataObject,
) -> None:
    ranking = integrate(metrics, weights)
    eligible = int(ranking["eligible"].sum())
    assume(eligible > 0)
    budget = data.draw(st.integers(1, eligible))
    clusters = clusters_for(metrics, count, seed)
    other = integrate(shuffled(metrics, seed), weights)
    for quota in QUOTAS:
        got = select(ranking, clusters, budget, quota)
        assert got.height == budget if quota in EXACT else got.height <= budget
        assert got["eligible"].all()
        assert got["instruction_id"].is_unique().all()
        assert got["score"].is_sorted(descending=True)
        again = select(other, shuffled(clusters, seed + 1), budget, quota)
        assert_frame_equal(again, got, check_exact=True)


@given(metric_frames(), COUNTS, SEEDS, st.data())
def test_no_chosen_row_is_worse_than_one_left_out_of_its_cluster(
    metrics: pl.DataFrame, count: int, seed: int, data: st.DataObject
) -> None:
    ranking = integrate(metrics, (1, 1, 0))
    budget = data.draw(st.integers(1, metrics.height))
    clusters = clusters_for(metrics, count, seed)
    for quota in QUOTAS:
        got = select(ranking, clusters, budget, quota)
        rows = ranking.drop("cluster_id").join(clusters, on="instruction_id")
        for _, group in rows.group_by("cluster_id"):
            order = sorted(
                group.select("score", "instruction_id").rows(), key=lambda r: (-r[0], r[1])
            )
            taken = [i in set(got["instruction_id"]) for _, i in order]
            assert taken == sorted(taken, reverse=True)


@pytest.mark.parametrize("metric", ["difficulty", "separability", "stability"])
@pytest.mark.parametrize(
    "transform",
    [lambda v: 2 * v, lambda v: v + 8, lambda v: v**3, lambda v: v / 4 - 1],
    ids=["doubled", "shifted", "cubed", "shrunk"],
)
@settings(max_examples=12)
@given(metrics=metric_frames(), weights=WEIGHTS, seed=SEEDS)
def test_a_monotone_transform_of_a_metric_changes_no_chosen_row(
    metric: str,
    transform: Callable[[float], float],
    metrics: pl.DataFrame,
    weights: tuple[float, float, float],
    seed: int,
) -> None:
    # on eighths all four are exact, so no two values meet
    values = [None if v is None else transform(v) for v in metrics[metric]]
    changed = metrics.with_columns(pl.Series(metric, values, dtype=pl.Float64))
    ranking, other = integrate(metrics, weights), integrate(changed, weights)
    assert other["score"].equals(ranking["score"])
    assume(ranking["eligible"].any())
    clusters = clusters_for(metrics, 4, seed)
    expected = select(ranking, clusters, 0.5 if ranking["eligible"].sum() > 1 else 1)
    got = select(other, clusters, expected.height)
    assert got["instruction_id"].equals(expected["instruction_id"])


@given(metric_frames(), WEIGHTS, SEEDS, st.sampled_from(["few", "barred", "answer", "undefined"]))
def test_a_row_that_is_not_eligible_changes_no_chosen_row(
    metrics: pl.DataFrame, weights: tuple[float, float, float], seed: int, why: str
) -> None:
    plain = metrics.with_columns(answerable=pl.lit(True), barred=pl.lit(None, dtype=pl.String))
    extreme = {"difficulty": 99.0, "separability": 99.0, "stability": 99.0}
    undefined = dict.fromkeys(extreme, None)
    row = {
        "instruction_id": "00000-first",
        "n_scores": 1 if why == "few" else 9,
        **(undefined if why == "undefined" else extreme),
        "answerable": why != "answer",
        "barred": "listed" if why == "barred" else None,
    }
    more = pl.concat([pl.DataFrame([row], schema=plain.schema), plain])
    ranking, longer = integrate(plain, weights), integrate(more, weights)
    assert not longer["eligible"][0]
    assert_frame_equal(longer[1:], ranking, check_exact=True)
    assume(ranking["eligible"].any())
    clusters = clusters_for(more, 4, seed)  # the row has a cluster, as every row has
    budget = max(1, int(ranking["eligible"].sum()) // 2)
    for quota in QUOTAS:
        got = select(longer, clusters, budget, quota)
        assert_frame_equal(got, select(ranking, clusters, budget, quota), check_exact=True)


@given(metric_frames(), COUNTS, SEEDS, st.integers(1, 60))
def test_a_token_budget_is_kept_and_one_more_row_would_break_it(
    metrics: pl.DataFrame, count: int, seed: int, budget: int
) -> None:
    ranking = integrate(metrics, (1, 1, 0))
    clusters = clusters_for(metrics, count, seed)
    lengths = np.random.default_rng(seed).integers(0, 5, size=metrics.height)
    tokens = metrics.select("instruction_id", tokens=pl.Series(lengths))
    cost = dict(tokens.iter_rows())
    sums = [
        sum(cost[i] for i in select(ranking, clusters, n)["instruction_id"])
        for n in range(1, metrics.height + 1)
    ]
    assert sums == sorted(sums)  # the selections are nested, so the bisection is exact
    assume(sums[0] <= budget)
    got = select_by_tokens(ranking, clusters, tokens, budget)
    assert got.height == sum(s <= budget for s in sums)
    assert sum(cost[i] for i in got["instruction_id"]) <= budget


@given(metric_frames(), SEEDS, st.sampled_from(["top", "bottom"]), st.data())
def test_the_random_baseline_does_not_see_the_order(
    metrics: pl.DataFrame, seed: int, direction: str, data: st.DataObject
) -> None:
    budget = data.draw(st.integers(1, metrics.height))
    ranking = rank(metrics, method="random", direction=direction, seed=seed)
    other = rank(shuffled(metrics, seed), method="random", direction=direction, seed=seed)
    assert_frame_equal(select(ranking, None, budget), select(other, None, budget), check_exact=True)
