"""Semantic duplicates: pairs of near vectors within clusters, and the work that is bounded."""

import numpy as np
import pytest
from numpy.typing import NDArray

from crowdselect_core.quality import semantic_duplicates as semantic
from crowdselect_core.quality.duplicate_groups import (
    exact_key,
    joined,
    normalised_key,
    same_key_pairs,
)

Floats = NDArray[np.float32]


def units(rows: int, width: int = 16, seed: int = 0) -> Floats:
    vectors = np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)
    return semantic.unit_length(vectors)


def groups_of(vectors_ND: Floats, threshold: float) -> list[int]:
    distances_N = np.linalg.norm(vectors_ND - vectors_ND.mean(axis=0), axis=1).astype(np.float64)
    pairs = semantic.similar_pairs(vectors_ND, distances_N, threshold)
    return joined(np.arange(len(vectors_ND)), pairs).tolist()


def by_all_pairs(vectors_ND: Floats, threshold: float) -> list[int]:
    """Join the rows pair by pair."""
    groups = list(range(len(vectors_ND)))
    for i, j in np.argwhere(np.triu(vectors_ND @ vectors_ND.T >= threshold - 1e-6, 1)).tolist():
        low, high = sorted((groups[i], groups[j]))
        groups = [low if g == high else g for g in groups]
    return groups


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.95])
def test_the_groups_are_those_of_all_pairs(
    threshold: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(semantic, "BLOCK", 7)
    vectors = units(120, 6)
    vectors[50:60] = vectors[:10]  # equal ones
    assert groups_of(vectors, threshold) == by_all_pairs(vectors, threshold)


def test_cosine_and_not_length_counts() -> None:
    vectors = semantic.unit_length(np.array([[1, 0], [20, 0], [0, 3], [0, 0], [0, 0]], np.float32))
    assert groups_of(vectors, 1.0) == [0, 0, 2, 3, 4]  # zeros are like nothing


def test_equal_rows_beyond_any_window_are_one_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(semantic, "LARGEST", 10)
    monkeypatch.setattr(semantic, "BLOCK", 4)
    same = np.tile(units(1), (300, 1))
    assert set(groups_of(same, 0.9)) == {0}
    planted = units(300, 32)
    planted[200:] = semantic.unit_length(planted[:100] + 1e-4)
    found = groups_of(planted, 0.99)
    # near vectors lie about as far from the centre, so a window of few rows holds both
    assert sum(found[200 + i] == i for i in range(100)) >= 95


def test_clusters_are_read_few_at_a_time_and_every_row_once() -> None:
    labels = np.array([2, 0, 0, 2, 1, 0, 2, 3])
    by_id = np.array([7, 6, 5, 4, 3, 2, 1, 0])
    vectors = units(8)
    held: list[int] = []

    def read(wanted: NDArray[np.int64]) -> Floats:
        assert (np.diff(wanted) > 0).all()
        held.append(len(wanted))
        return vectors[wanted]

    found = list(semantic.clusters_of(labels, by_id, 4, read))
    assert [rows.tolist() for rows, _ in found] == [[5, 2, 1], [6, 3, 0]]  # by id; alone: none
    assert all((vectors[rows] == own).all() for rows, own in found)
    assert max(held) <= 4


def test_keys_of_exact_and_normalised_duplicates() -> None:
    texts = ["Is it so?", "is  it SO", "Is it so?", "", " ", "?!", "\u00bfis it so", "is it not so"]
    exact = joined(np.arange(8), [same_key_pairs([exact_key(t) for t in texts])])
    assert exact.tolist() == [0, 1, 0, 3, 4, 5, 6, 7]  # texts without words are no duplicates
    wider = joined(exact, [same_key_pairs([normalised_key(t) for t in texts])])
    assert wider.tolist() == [0, 0, 0, 3, 4, 5, 0, 7]


def test_groups_are_joined_by_what_connects_them() -> None:
    pairs = [(np.array([1, 4]), np.array([2, 3])), (np.array([2]), np.array([3]))]
    assert joined(np.arange(6), pairs).tolist() == [0, 1, 1, 1, 1, 5]
    assert joined(np.arange(0), []).tolist() == []
