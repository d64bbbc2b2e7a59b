"""The places of a few rows, held against those of all rows."""

from itertools import product

import numpy as np
import polars as pl
import pytest

from crowdselect_core.selection import asked_places
from crowdselect_core.selection.asked_places import placed_alone
from crowdselect_core.selection.candidates import NO_CLUSTER, Candidates
from crowdselect_core.selection.placement import placed


def drawn(rng: np.random.Generator, scores: int, clusters: int) -> Candidates:
    """Draw rows with few distinct scores and clusters; some not eligible, some without cluster."""
    rows = 60
    ids = pl.Series([f"i{n}" for n in rng.permutation(rows)])  # of one and of two digits
    return Candidates(
        score_N=rng.integers(scores, size=rows) * rng.choice([-0.5, 0.5], size=rows),
        eligible_N=rng.random(rows) < 0.8,
        cluster_N=rng.choice([NO_CLUSTER, *range(7, 7 + clusters)], size=rows)
        if clusters
        else None,
        ids_of=lambda rows_K: ids[rows_K],
    )


@pytest.mark.parametrize(
    ("scores", "clusters", "asked"), list(product([1, 4, 1000], [0, 1, 5], [0, 1, 20, 60]))
)
def test_rows_stand_where_they_do_among_all_rows(
    scores: int, clusters: int, asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asked_places, "CHUNK", 7)
    rng = np.random.default_rng([scores, clusters, asked])
    candidates = drawn(rng, scores, clusters)
    chosen_B = rng.permutation(np.flatnonzero(candidates.eligible_N))[:12]
    ranks_B = np.arange(1, len(chosen_B) + 1)
    rows_K = rng.permutation(60)[:asked]
    whole = placed(candidates, chosen_B, ranks_B)
    alone = placed_alone(candidates, chosen_B, ranks_B, rows_K)
    assert alone.place_N.tolist() == whole.place_N[rows_K].tolist()
    assert alone.rank_N.tolist() == whole.rank_N[rows_K].tolist()
    assert alone.group_N.tolist() == whole.group_N[rows_K].tolist()
    assert np.array_equal(alone.margin_N, whole.margin_N[rows_K], equal_nan=True)
    assert alone.chosen_G.tolist() == whole.chosen_G.tolist()
    assert alone.eligible_G.tolist() == whole.eligible_G.tolist()
