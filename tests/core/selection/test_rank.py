"""The baselines: what each needs, what each ranks by, and its bottom end."""

import math
from typing import Any

import polars as pl
import pytest

from crowdselect_core.errors import ConfigError, DatasetError
from crowdselect_core.selection.integration import integrate
from crowdselect_core.selection.methods.rank import METHODS, rank, rank_random, rank_reward
from crowdselect_core.tables import RANKING, check
from crowdselect_core.util.hashed_random import uniform

METRICS_FRAME = pl.DataFrame(
    {
        "instruction_id": ["a", "b", "c", "d"],
        "n_scores": [4, 4, 2, 0],
        "difficulty": [3.0, 1.0, 2.0, None],
        "separability": [1.0, 2.0, 3.0, None],
        "stability": [0.5, 1.0, None, None],
    }
)


def best_first(ranking: pl.DataFrame) -> list[str]:
    check(ranking, RANKING, "ranking")
    chosen = ranking.filter("eligible").sort("score", descending=True)
    return chosen["instruction_id"].to_list()


@pytest.mark.parametrize(
    ("method", "order"),
    [("difficulty", "acb"), ("separability", "cba"), ("stability", "ba")],
)
def test_one_metric_alone_needs_only_itself(method: str, order: str) -> None:
    top = rank(METRICS_FRAME, method=method, weights=(5, 5, 5))
    bottom = rank(METRICS_FRAME, method=method, direction="bottom")
    assert best_first(top) == list(order)
    assert best_first(bottom) == list(reversed(order))


def test_crowdselect_takes_the_users_weights_and_bottom_negates_them() -> None:
    top = rank(METRICS_FRAME, method="crowdselect", weights=(1, 0, 2), min_scores=3)
    assert top.equals(integrate(METRICS_FRAME, (1, 0, 2), 3))
    bottom = rank(METRICS_FRAME, method="crowdselect", direction="bottom", weights=(1, 0, 2))
    assert bottom.equals(integrate(METRICS_FRAME, (-1, 0, -2)))


def test_random_needs_nothing_of_the_scores() -> None:
    ids = METRICS_FRAME.select("instruction_id")
    got = rank_random(ids, seed=5)
    check(got, RANKING, "ranking")
    assert got["score"].to_list() == uniform("abcd", 5, "random").tolist()
    assert got["eligible"].all()
    assert rank_random(METRICS_FRAME, 5)["score"].to_list() == got["score"].to_list()
    assert rank(METRICS_FRAME, method="random", seed=6)["score"].to_list() != got["score"].to_list()
    bottom = rank(ids, method="random", seed=5, direction="bottom")
    assert best_first(bottom) == best_first(got)[::-1]


def test_random_and_reward_keep_to_answers_and_lists() -> None:
    frame = METRICS_FRAME.with_columns(
        answerable=pl.Series([True, None, True, False]),
        barred=pl.Series(["not on the include list", None, None, None]),
    )
    reasons = ["not on the include list", "no_answer", None, "no_answer"]
    assert rank_random(frame, 0)["reason"].to_list() == reasons
    assert rank_random(frame, 0)["score"].is_null().to_list() == [True, True, False, True]
    reward = rank_reward(frame, pl.Series([None, 1.0, None, None], dtype=pl.Float64))
    assert reward["reason"].to_list() == [
        "not on the include list",
        "no_answer",
        "no_score",
        "no_score",
    ]


@pytest.mark.parametrize("gap", [None, math.nan, math.inf])
def test_reward_ranks_by_the_best_score(gap: float | None) -> None:
    best = pl.Series([-2.0, 7.5, 0.0, gap], dtype=pl.Float64, strict=False)
    top = rank(METRICS_FRAME, method="reward", best_scores=best, min_scores=99)
    assert top["score"].to_list() == [-2.0, 7.5, 0.0, None]  # as it is, not a quantile
    assert top["reason"].to_list() == [None, None, None, "no_score"]
    assert best_first(top) == ["b", "c", "a"]
    bottom = rank(METRICS_FRAME, method="reward", direction="bottom", best_scores=best)
    assert best_first(bottom) == ["a", "c", "b"]
    assert bottom["score"].to_list() == [2.0, -7.5, 0.0, None]


def test_reward_without_fitting_scores() -> None:
    with pytest.raises(ConfigError, match="needs best_scores"):
        rank(METRICS_FRAME, method="reward")
    with pytest.raises(ValueError, match="3 best scores for 4 rows"):
        rank_reward(METRICS_FRAME, pl.Series([1.0, 2.0, 3.0]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "crowd-select"}, "did you mean 'crowdselect'"),
        ({"method": "rewards"}, "did you mean 'reward'"),
        ({"direction": "up"}, "expected top or bottom"),
        ({"weights": (1, 1)}, "weights"),
        ({"weights": "112", "direction": "bottom"}, "weights"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        rank(METRICS_FRAME, **options)


def test_ids_are_checked_by_every_method() -> None:
    twice = pl.concat([METRICS_FRAME, METRICS_FRAME.head(1)])
    for method in [*METHODS, "random", "reward"]:
        with pytest.raises(DatasetError, match="duplicate ids"):
            rank(twice, method=method, best_scores=pl.Series([1.0] * 5))
