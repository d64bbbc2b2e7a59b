"""Agreement of reward models: by hand, and against scipy on scores with ties and holes."""

import json
import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from crowdselect_core.metrics.reward_agreement import (
    agreement,
    mean_spread,
    spearman,
    within_instruction,
)

NAN = math.nan
Floats = NDArray[np.float64]


def holed(seed: int, rows: int = 60, models: int = 5) -> Floats:
    """Scores with many ties, some missing, and a row of equal ones."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 6, (rows, models)).astype(float)
    scores[rng.random(scores.shape) < 0.2] = NAN
    scores[0] = 3.0
    scores[1, 1:] = NAN
    return scores


def rho(x: Floats, y: Floats) -> float:
    """scipy's own, NaN where it has none."""
    both = np.isfinite(x) & np.isfinite(y)
    if both.sum() < 2 or len(set(x[both])) < 2 or len(set(y[both])) < 2:
        return NAN
    return float(stats.spearmanr(x[both], y[both]).statistic)


def test_by_hand() -> None:
    a = np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
    b = np.array([[10.0, 20.0, 30.0], [30.0, 20.0, 10.0]])
    got = agreement({"b": b, "a": a}, np.array([[1.0, 2.0, 9.0], [1.0, 2.0, 9.0]]))
    # inside: +1 and -1, mean 0; all means are equal, so difficulty has no rho
    (pair,) = got["pairs"]
    assert (pair["a"], pair["b"], pair["cells"], pair["instructions"]) == ("a", "b", 6, 2)
    assert (pair["spearman"], pair["within_instruction"], pair["difficulty"]) == (0.0, 0.0, None)
    # z-scores: in row 1 equal (0), in row 2 +-sqrt(3/2) at the ends, where they are as far apart
    # as 2 sqrt(3/2), standard deviation sqrt(3/2): the mean over six cells is sqrt(3/2)/3
    assert got["spread"] == pytest.approx(math.sqrt(1.5) / 3)
    assert [(row["reward_model"], row["within_instruction"]) for row in got["length"]] == [
        ("a", 1.0),
        ("b", 0.0),
    ]


@pytest.mark.parametrize("seed", range(5))
def test_against_scipy(seed: int) -> None:
    x, y, lengths = holed(seed), holed(seed + 100), holed(seed + 200)
    got = agreement({"x": x, "y": y}, lengths)
    (pair,) = got["pairs"]
    inside = [r for r in map(rho, x, y) if math.isfinite(r)]
    assert pair["spearman"] == pytest.approx(rho(x, y))
    assert pair["within_instruction"] == pytest.approx(np.mean(inside))
    assert pair["instructions"] == len(inside)
    assert pair["cells"] == int((np.isfinite(x) & np.isfinite(y)).sum())
    means = [np.array([np.nanmean(row) if np.isfinite(row).any() else NAN for row in a])
             for a in (x, y)]  # fmt: skip
    assert pair["difficulty"] == pytest.approx(rho(*means))
    by_length = got["length"][1]
    assert by_length["spearman"] == pytest.approx(rho(y, lengths))
    inside = [r for r in map(rho, y, lengths) if math.isfinite(r)]
    assert by_length["within_instruction"] == pytest.approx(np.mean(inside))
    z = np.stack([stats.zscore(a, axis=None, nan_policy="omit") for a in (x, y)])
    both = np.isfinite(z).all(axis=0)
    assert got["spread"] == pytest.approx(np.std(z[:, both], axis=0).mean())


def test_the_order_of_rows_and_blocks_changes_no_bit() -> None:
    scores = {"x": holed(1, 5000), "y": holed(2, 5000), "z": holed(3, 5000)}
    lengths = holed(4, 5000)
    order = np.random.default_rng(0).permutation(5000)
    mixed = {name: array[order] for name, array in reversed(scores.items())}
    assert agreement(mixed, lengths[order]) == agreement(scores, lengths)


def test_what_is_undefined_is_none_and_the_result_is_json() -> None:
    flat, some = np.full((2, 2), 1.0), np.array([[1.0, math.inf], [NAN, 2.0]])
    got = agreement({"flat": flat, "some": some}, np.full((2, 2), NAN))
    (pair,) = got["pairs"]
    assert (pair["spearman"], pair["within_instruction"], pair["cells"]) == (None, None, 2)
    assert got["spread"] is None
    assert json.loads(json.dumps(got, allow_nan=False)) == got
    assert agreement({}) == {"pairs": [], "length": [], "spread": None}
    assert agreement({"x": some})["pairs"] == []


def test_equal_reward_models_agree_fully() -> None:
    x = holed(7)
    assert spearman(x, x) == pytest.approx(1.0, abs=1e-15)
    assert within_instruction(x, x)[0] == pytest.approx(1.0, abs=1e-15)
    assert mean_spread({"a": x, "b": x}) == 0.0


def test_infinite_scores_are_missing_everywhere() -> None:
    x, y = holed(1), holed(2)
    endless = np.where(np.isnan(x), np.inf, x)
    assert agreement({"x": endless, "y": y}, endless) == agreement({"x": x, "y": y}, x)


def test_arrays_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="shapes"):
        agreement({"x": np.zeros((2, 3)), "y": np.zeros((3, 2))})
