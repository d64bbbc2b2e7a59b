"""Drift: the index by hand, shifts that are there, and few rows that prove nothing."""

import math

import numpy as np
import polars as pl
import pytest

from crowdselect_core.metrics.drift import advice, drift, psi


def rows(values: list[float], clusters: list[int] | None = None) -> pl.DataFrame:
    n = len(values)
    return pl.DataFrame(
        {
            "difficulty": values, "separability": [None] * n, "stability": [None] * n,
            "headroom": [None] * n, "eligible": [True] * n,
            "cluster_id": clusters or [None] * n,
        },
        schema_overrides={
            "separability": pl.Float64, "stability": pl.Float64, "headroom": pl.Float64,
            "cluster_id": pl.Int64,
        },
    )  # fmt: skip


def test_the_index_by_hand() -> None:
    # Counts raised by 0.5: reference 50.5, 50.5 of 101; new 10.5, 30.5 of 41.
    p, q = (10.5 / 41, 30.5 / 41), 0.5
    expected = sum((x - q) * math.log(x / q) for x in p)
    index, noise = psi(np.array([50, 50]), np.array([10, 30]))
    assert index == pytest.approx(expected)
    assert noise == pytest.approx(6.6349 * (1 / 100 + 1 / 40), rel=1e-4)  # chi-square, 1 df, 99 %


def test_the_same_distribution_has_not_shifted_and_another_has() -> None:
    rng = np.random.default_rng(0)
    base = rows(rng.normal(size=2000).tolist())
    calm = drift(base, rows(rng.normal(size=400).tolist()), "new")
    assert calm["shifted"].to_list() == [False]
    assert "no shift" in advice(calm)
    moved = drift(base, rows(rng.normal(1, size=400).tolist()), "new")
    assert moved["shifted"].to_list() == [True]
    assert "difficulty" in advice(moved)
    assert "refit is advised" in advice(moved)


def test_three_rows_prove_nothing() -> None:
    rng = np.random.default_rng(1)
    table = drift(rows(rng.normal(size=500).tolist()), rows([0.9, 1.0, 1.1]), "new")
    [row] = table.rows(named=True)
    assert row["psi"] > 0.25  # it looks like a shift
    assert not row["shifted"]


def test_cluster_shares_count_too_and_rows_that_are_not_eligible_do_not() -> None:
    base = rows([0.0] * 300, [0, 1, 2] * 100)
    new = rows([0.0] * 60, [2] * 60)
    told = drift(base, new, "new").filter(pl.col("what") == "clusters").row(0, named=True)
    assert told["shifted"]
    assert (told["n_reference"], told["n"]) == (300, 60)
    out = new.with_columns(eligible=pl.lit(False))
    assert drift(base, out, "new").is_empty()
    assert advice(drift(base, out, "new")) == "no row to compare"
