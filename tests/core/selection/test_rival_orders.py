"""The orders of the rival methods, against plain references and by hand."""

import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from crowdselect_core.annotate.rds_values import rds_values
from crowdselect_core.selection.methods import rds
from crowdselect_core.selection.methods.by_value import rank_by_value
from crowdselect_core.selection.methods.deita import deita_score, dissimilar
from crowdselect_core.selection.methods.k_center import k_center_distances

FILTER = Path(__file__).parents[4] / "shared" / "data" / "ifd" / "deita_filter.json"


def plain_k_center(vectors: list[list[float]], picks: int) -> list[int]:
    """Pick one row after the other by its distance to all that were picked."""
    chosen = [0]
    while len(chosen) < picks:
        nearest = [
            -1.0 if i in chosen else min(float(np.linalg.norm(v - vectors[c])) for c in chosen)
            for i, v in enumerate(np.asarray(vectors))
        ]
        chosen.append(nearest.index(max(nearest)))
    return chosen


@pytest.mark.parametrize("seed", range(5))
def test_k_center_picks_as_a_plain_loop_does(seed: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(40, 5)).astype(np.float32)
    distances = k_center_distances(vectors, 12)
    order = np.lexsort((np.arange(40), -distances))[:12]
    assert order.tolist() == plain_k_center(vectors.tolist(), 12)


def test_k_center_of_vectors_that_lie_far_from_zero() -> None:
    """All shifted by 1,000 alike, one component constant: as in float64."""
    spread = np.random.default_rng(7).normal(size=(60, 32)) * 0.1
    vectors = (np.hstack([spread, np.zeros((60, 1))]) + 1_000).astype(np.float32)
    distances = k_center_distances(vectors, 20)
    order = np.lexsort((np.arange(60), -distances))[:20]
    exact = vectors.astype(np.float64)
    assert order.tolist() == plain_k_center(exact.tolist(), 20)
    second = np.linalg.norm(exact - exact[0], axis=1).max()
    assert distances[0] == pytest.approx(second, rel=1e-5)


def test_k_center_by_hand() -> None:
    """On a line at 0, 1, 10, 4, 10: the first; 10, the earlier of two; 4; then 1, and 10 again."""
    vectors = np.array([[0], [1], [10], [4], [10]], dtype=np.float32)
    assert k_center_distances(vectors, 5).tolist() == [10, 1, 10, 4, 0]
    assert k_center_distances(vectors, 2).tolist() == [10, 1, 10, 4, 0]  # the rest by its nearest
    assert k_center_distances(vectors[:1], 1).tolist() == [0]
    assert k_center_distances(vectors[:0], 1).tolist() == []


@pytest.mark.skipif(not FILTER.exists(), reason="../shared/data/ifd is not here")
@pytest.mark.parametrize("threshold", [0.5, 0.9, 0.99])
def test_deitas_filter_keeps_what_the_published_one_keeps(threshold: float) -> None:
    told = json.loads(FILTER.read_text())
    pairs = zip(told["complexity_scores"], told["quality_scores"], strict=True)
    scores = np.array([deita_score(c, q)[0] for c, q in pairs])
    order = np.argsort(-scores, kind="stable")
    kept = dissimilar(np.array(told["embedding"], dtype=np.float32)[order], threshold)
    expected = told["expected"][f"threshold={threshold},data_size=-1,batch_size=1,cosine"]
    assert order[kept].tolist() == expected["idx"]
    assert scores[order[kept]] == pytest.approx(expected["final_score"], rel=1e-6)


def test_deitas_filter_over_the_edge_of_a_block_by_hand() -> None:
    """700 rows in turns of two directions: the first of each stays, wherever the blocks end."""
    vectors = np.tile(np.eye(2, dtype=np.float32), (350, 1))
    assert np.flatnonzero(dissimilar(vectors, 0.9)).tolist() == [0, 1]
    assert dissimilar(vectors[:2] * 0, 0.9).all()  # nothing resembles a vector of length 0
    assert dissimilar(vectors[:0], 0.9).tolist() == []


@given(st.integers(0, 2**32 - 1), st.integers(0, 60), st.sampled_from([-0.5, 0.3, 0.9]))
def test_deitas_filter_that_ends_with_the_budget_keeps_the_same_rows(
    seed: int, most: int, threshold: float
) -> None:
    """Up to the row that fills the budget as without an end; the rows behind are not filtered."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(int(rng.integers(0, 50)), 2)).astype(np.float32)
    whole = np.flatnonzero(dissimilar(vectors, threshold))
    ended = dissimilar(vectors, threshold, most)
    assert np.flatnonzero(ended)[:most].tolist() == whole[:most].tolist()
    if 0 < most <= len(whole):
        assert ended[whole[most - 1] :].all()


def test_deitas_filter_ends_within_a_block_by_hand() -> None:
    """Rows in turns of two directions, 600 of them: the budget is full at row 1, or never."""
    vectors = np.tile(np.eye(2, dtype=np.float32), (300, 1))
    assert dissimilar(vectors, 0.9, 2).all()
    assert np.flatnonzero(dissimilar(vectors, 0.9, 3)).tolist() == [0, 1]


def test_deitas_score_is_never_made_up() -> None:
    assert deita_score([2.0, 3.0], [4.0, 0.5]) == (9.5, None)
    assert deita_score(2, 3.0) == (6.0, None)
    assert deita_score(None, 3.0) == (None, "no_complexity")
    assert deita_score([1.0, None], [1.0, 1.0]) == (None, "no_complexity")
    assert deita_score(1.0, float("nan")) == (None, "no_quality")
    assert deita_score([1.0, 2.0], [1.0]) == (None, "turns_differ")
    assert deita_score([], [1.0]) == (None, "no_complexity")


def round_robin(similar: NDArray[np.float64], picks: int, size: int = 3) -> NDArray[np.float64]:
    """Hand the rows over in blocks, the last rows first."""

    def blocks() -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        for start in reversed(range(0, len(similar), size)):
            part = similar[start : start + size]
            yield np.arange(start, start + len(part)), part.astype(np.float32)

    return rds.round_robin(blocks, similar.max(axis=1, initial=-1.0), picks)


def plain_round_robin(similar: NDArray[np.float64], picks: int) -> list[int]:
    """Take for target after target the best row that is left, looking at all of them."""
    taken: list[int] = []
    while len(taken) < min(picks, len(similar)):
        own = similar[:, len(taken) % similar.shape[1]]
        taken.append(min((r for r in range(len(own)) if r not in taken), key=lambda r: -own[r]))
    return taken


@pytest.mark.parametrize("depth", [1, 3, 1_024])
@given(seed=st.integers(0, 2**32 - 1), picks=st.integers(0, 45), size=st.integers(1, 9))
def test_targets_take_turns_as_a_plain_loop_has_them(
    depth: int, seed: int, picks: int, size: int
) -> None:
    """Whatever the blocks, with many ties, and where targets run out of their first rows."""
    rng = np.random.default_rng(seed)
    shape = int(rng.integers(0, 40)), int(rng.integers(1, 6))
    similar = np.round(rng.uniform(-1, 1, size=shape), 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rds, "DEPTH", depth)
        scores = round_robin(similar, picks, size)
    expected = plain_round_robin(similar, picks)
    assert [scores[row] for row in expected] == list(range(len(expected), 0, -1))
    rest = np.setdiff1d(np.arange(len(similar)), expected)
    assert scores[rest].tolist() == (similar.max(axis=1, initial=-1.0)[rest] - 1).tolist()


def test_targets_hold_no_more_than_their_best_rows() -> None:
    """200,000 rows x 40 targets are 64 MB as float64; a choice of 500 takes a part of that."""
    rows, targets = 200_000, 40

    def blocks() -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        rng = np.random.default_rng(0)
        for start in range(0, rows, 4_000):
            yield np.arange(start, start + 4_000), rng.random((4_000, targets), dtype=np.float32)

    tracemalloc.start()
    try:
        scores = rds.round_robin(blocks, np.ones(rows), 500)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (scores >= 1).sum() == 500
    assert peak < 16e6


def test_targets_take_turns_by_hand() -> None:
    """Target 0 takes row 1, target 1 its next best, row 0; then target 0 takes row 2."""
    similar = np.array([[0.8, 0.9], [0.9, 0.95], [0.7, 0.1], [0.2, 0.3]])
    assert round_robin(similar, 3).tolist() == pytest.approx([2, 3, 1, 0.3 - 1])
    assert round_robin(similar, 9).tolist() == [3, 4, 2, 1]
    assert round_robin(similar, 0).tolist() == pytest.approx([-0.1, -0.05, -0.3, -0.7])
    equal = np.zeros((3, 1))
    assert round_robin(equal, 3).tolist() == [3, 2, 1]  # ties by place


def test_cosines_stand_beside_their_rows() -> None:
    schema = {"vector": pl.List(pl.Float32), "error": pl.String}
    vectors = [None, [1.0, 0.0], None, [0.6, 0.8]]
    errors = ["template: x", None, None, None]
    cells = pl.DataFrame({"vector": vectors, "error": errors}, schema)
    targets = pl.DataFrame({"vector": [[1.0, 0.0], [0.0, 1.0]], "error": [None, None]}, schema)
    found = rds_values(cells, targets)
    expected = [None, [1.0, 0.0], None, [0.6, 0.8]]
    assert found["similarities"].equals(pl.Series("similarities", expected, schema["vector"]))
    assert found["target_similarity"].to_list() == pytest.approx([None, 1.0, None, 0.8])
    assert found["lacks"].to_list() == ["template", None, None, None]
    assert rds_values(cells[[0, 2]], targets)["similarities"].null_count() == 2
    assert rds_values(cells[:0], targets).is_empty()


def test_ranking_by_a_value_keeps_the_number_of_a_row_that_is_out() -> None:
    metrics = pl.DataFrame(
        {
            "instruction_id": ["a", "b", "c", "d", "e"],
            "answerable": [True, True, True, False, True],
            "barred": [None, None, None, None, "excluded"],
        }
    )
    values = pl.DataFrame(
        {
            "instruction_id": ["e", "c", "b", "a"],
            "ifd": [0.1, None, 1.5, 0.5],
            "lacks": [None, None, "ifd_above_1", None],
        }
    )
    ranking = rank_by_value(metrics, values, "ifd")
    assert ranking["ifd"].to_list() == [0.5, 1.5, None, None, 0.1]
    assert ranking["score"].to_list() == [0.5, None, None, None, None]
    assert ranking["reason"].to_list() == [
        None, "ifd_above_1", "no_value", "no_answer", "excluded",
    ]  # fmt: skip
    assert ranking["eligible"].to_list() == [True, False, False, False, False]
