"""The metrics against scipy row by row; block size and the form of the input do not matter."""

import math
import warnings

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from polars.testing import assert_frame_equal
from scipy.stats import spearmanr

from crowdselect_core.config.crowd import CrowdModel, families, read_crowd
from crowdselect_core.metrics import foundation_metrics as module
from crowdselect_core.metrics.foundation_metrics import crowd_metrics, crowd_metrics_NM

NAN, INF = math.nan, math.inf


def scores_like(kind: str, rows: int, models: int) -> NDArray[np.float64]:
    """Make random scores: smooth, with many ties, or with many gaps of all kinds."""
    rng = np.random.default_rng(7)
    if kind == "ties":
        return rng.integers(0, 3, size=(rows, models)).astype(np.float64)
    scores_NM = rng.normal(3, 11, size=(rows, models))
    if kind == "gaps":
        scores_NM = np.round(scores_NM / 8)  # ties too
        for gap in (NAN, INF, -INF):
            scores_NM[rng.random(scores_NM.shape) < 0.25] = gap
    return scores_NM


def by_scipy(row_M: NDArray[np.float64], crowd: list[CrowdModel]) -> list[float]:
    """Compute one row's metrics the slow way; NaN where undefined."""
    place = {m.name: i for i, m in enumerate(crowd)}
    present_M = np.isfinite(row_M)
    rhos = []
    for members in families(crowd).values():
        kept = [m for m in members if present_M[place[m.name]]]
        if len(kept) >= 2:
            rhos.append(spearmanr([m.size for m in kept], [row_M[place[m.name]] for m in kept])[0])
    kept_M, defined = row_M[present_M], [r for r in rhos if not np.isnan(r)]
    return [
        float(len(kept_M)),
        -kept_M.mean() if len(kept_M) else NAN,
        kept_M.var() if len(kept_M) >= 2 else NAN,
        float(np.mean(defined)) if defined else NAN,
    ]


@pytest.mark.parametrize("kind", ["smooth", "ties", "gaps"])
def test_agrees_with_scipy_row_by_row(kind: str) -> None:
    crowd = read_crowd("paper").crowd
    scores_NM = scores_like(kind, 400, len(crowd))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy warns of constant families
        expected = np.array([by_scipy(row_M, crowd) for row_M in scores_NM])
    got = crowd_metrics_NM(scores_NM, crowd).drop("headroom").to_numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12, equal_nan=True)
    assert np.isfinite(expected[:, 3]).sum() > 200  # the comparison is about something


def test_a_family_of_200_models() -> None:
    # more models than a byte counts
    rng = np.random.default_rng(0)
    crowd = [CrowdModel(name=f"m{i:03}", family="f", size=i) for i in range(200)]
    row = rng.normal(size=200) + np.arange(200) / 100
    got = crowd_metrics_NM(row[None, :], crowd)["stability"][0]
    assert got == pytest.approx(spearmanr(np.arange(200), row)[0], abs=1e-12)


@pytest.mark.parametrize("rows", [1, 7, 64, 100_000])
def test_the_size_of_a_block_changes_no_bit(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    crowd = read_crowd("paper").crowd
    scores_NM = scores_like("gaps", 150, len(crowd))
    expected = crowd_metrics_NM(scores_NM, crowd)
    monkeypatch.setattr(module, "BLOCK_ROWS", rows)
    assert_frame_equal(crowd_metrics_NM(scores_NM, crowd), expected, check_exact=True)


def test_the_array_form_is_the_same_and_leaves_its_input_alone() -> None:
    crowd = read_crowd("paper").crowd
    scores_NM = scores_like("gaps", 100, len(crowd))
    before = scores_NM.copy()
    frame = pl.DataFrame({m.name: scores_NM[:, i] for i, m in enumerate(crowd)})
    frame = frame.with_columns(instruction_id=pl.int_range(pl.len()).cast(pl.String))
    assert_frame_equal(
        crowd_metrics(frame, crowd).drop("instruction_id"),
        crowd_metrics_NM(scores_NM, crowd),
        check_exact=True,
    )
    np.testing.assert_array_equal(scores_NM, before)
