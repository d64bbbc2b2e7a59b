"""Several reward models become one score: exact moments, z-scores, and what is left out."""

import math
import random
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from crowdselect_core.errors import DatasetError
from crowdselect_core.metrics.combine import (
    Moments,
    best_score,
    combine,
    left_out,
    moments,
    usable,
)

NAN, INF = math.nan, math.inf
Floats = NDArray[np.float64]


def as_blocks(*arrays: Floats) -> Callable[[], Iterator[Floats]]:
    return lambda: iter(arrays)


def test_moments_by_hand() -> None:
    # 1, 3, 5, 7: mean 4, squared deviations 9 + 1 + 1 + 9 = 20, over 4 = 5
    got = moments(as_blocks(np.array([[1.0, NAN, 3.0]]), np.array([[INF, 5.0], [7.0, -INF]])))
    assert got == Moments(mean=4.0, std=math.sqrt(5), n=4)


def test_moments_lose_nothing_beside_a_large_score() -> None:
    # added up one by one in this order, both ones would vanish: the sum would be 0
    got = moments(as_blocks(np.array([1.0, 1e17, 1.0, -1e17])))
    assert got.mean == 0.5


def test_row_order_and_shards_change_no_bit_of_the_moments() -> None:
    rng = random.Random(0)
    values = [rng.gauss(3, 11) * 10 ** rng.randint(-8, 8) for _ in range(999)]
    expected = moments(as_blocks(np.array(values)))
    for parts in (1, 2, 7, 333):
        rng.shuffle(values)
        split = np.array_split(np.array(values), parts)
        assert moments(as_blocks(*split)) == expected


def test_equal_scores_have_exactly_no_deviation() -> None:
    # three times 0.1 is 0.30000000000000004, and a third of that is not 0.1
    assert moments(as_blocks(np.full((3, 1), 0.1))) == Moments(0.1, 0.0, 3)


def test_no_score_at_all_has_moments_without_nan() -> None:
    assert moments(as_blocks(np.array([NAN, INF]))) == Moments(0.0, 0.0, 0)
    assert moments(as_blocks()) == Moments(0.0, 0.0, 0)


@pytest.mark.parametrize("values", [[1e308, 1e308, -1e308], [1e200, -1e200]])
def test_scores_too_large_for_a_deviation_are_refused(values: list[float]) -> None:
    with pytest.raises(DatasetError, match="too large"):
        moments(as_blocks(np.array(values)))


def test_one_reward_model_is_taken_as_it_is() -> None:
    scores_NM = np.array([[1.5, INF], [NAN, -2.0]])
    np.testing.assert_array_equal(combine({"rm": scores_NM}, {}), [[1.5, NAN], [NAN, -2.0]])


def test_several_are_the_mean_of_the_z_scores_that_are_there() -> None:
    scores = {
        "b": np.array([[14.0, 12.0, NAN]]),  # mean 10, std 4: z = 1, .5, missing
        "a": np.array([[1.0, INF, NAN]]),  # mean 2, std 0.5: z = -2, missing, missing
    }
    given = {"a": Moments(2.0, 0.5, 100), "b": Moments(10.0, 4.0, 100)}
    np.testing.assert_array_equal(combine(scores, given), [[(1 - 2) / 2, 0.5, NAN]])


def test_the_order_of_the_reward_models_changes_no_bit() -> None:
    rng = np.random.default_rng(0)
    scores = {name: rng.normal(size=(50, 4)) for name in "abc"}
    given = {name: moments(as_blocks(s)) for name, s in scores.items()}
    backwards = dict(reversed(scores.items()))
    np.testing.assert_array_equal(combine(scores, given), combine(backwards, given))


def test_a_shard_is_combined_as_it_is_in_the_whole() -> None:
    rng = np.random.default_rng(1)
    scores = {name: rng.normal(size=(50, 4)) for name in "ab"}
    given = {name: moments(as_blocks(s)) for name, s in scores.items()}
    parts = [combine({n: s[i : i + 7] for n, s in scores.items()}, given) for i in range(0, 50, 7)]
    np.testing.assert_array_equal(np.concatenate(parts), combine(scores, given))


def test_a_flat_reward_model_is_left_out_with_a_note() -> None:
    scores = {"flat": np.array([[3.0, 3.0]]), "good": np.array([[1.0, 3.0]])}
    given = {name: moments(as_blocks(s)) for name, s in scores.items()}
    got = combine(scores, given)
    # good: mean 2, std 1; it stays z-scored, so a shard and the whole agree
    np.testing.assert_array_equal(got, [[-1.0, 1.0]])
    assert left_out(given | {"none": Moments(0.0, 0.0, 0)}) == [
        "reward model flat is left out: its 2 scores are all equal",
        "reward model none is left out: it has no scores",
    ]


def test_all_flat_is_an_error() -> None:
    given = {"a": Moments(1.0, 0.0, 9), "b": Moments(0.0, 0.0, 0)}
    with pytest.raises(DatasetError, match="reward models a, b: each gives every answer the same"):
        usable(given)
    with pytest.raises(DatasetError):
        combine({n: np.ones((1, 2)) for n in given}, given)


def test_missing_moments_are_our_fault_and_no_reward_model_the_users() -> None:
    scores = {"a": np.ones((1, 2)), "b": np.ones((1, 2))}
    with pytest.raises(ValueError, match=r"no moments for reward models \['b'\]"):
        combine(scores, {"a": Moments(0.0, 1.0, 2)})
    with pytest.raises(DatasetError, match="no reward model"):
        combine({}, {})


def test_best_score_is_the_best_that_is_there() -> None:
    c_NM = np.array([[1.0, 4.0, NAN], [NAN, INF, -3.0], [NAN, -INF, NAN]])
    np.testing.assert_array_equal(best_score(c_NM), [4.0, -3.0, NAN])
    np.testing.assert_array_equal(best_score(np.empty((2, 0))), [NAN, NAN])
