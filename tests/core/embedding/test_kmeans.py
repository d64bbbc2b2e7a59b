"""K-means and assignment: hand-made groups, numbering, ties, independence of blocks and threads.

Array names carry their shape: N rows, D components, K clusters.
"""

from concurrent.futures import ThreadPoolExecutor
from itertools import permutations

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from crowdselect_core.embedding.kmeans import (
    FIT_ROWS,
    Vectors,
    assign,
    check_distinct,
    fit_clusters,
    fit_rows,
)
from crowdselect_core.errors import DatasetError, SelectionError
from crowdselect_core.util.single_thread import one_thread


def points(*rows: tuple[float, ...]) -> Vectors:
    return np.array(rows, dtype=np.float32)


def normal(rows: int, width: int, seed: int = 0) -> Vectors:
    return np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)


def groups(rows: int, width: int, count: int, seed: int = 0) -> tuple[Vectors, Vectors]:
    """Make normal groups of unequal size whose means lie far apart; return rows and means."""
    rng = np.random.default_rng(seed)
    shares = 1 / np.arange(1, count + 1)
    means_KD = rng.normal(size=(count, width)) * 4
    member = rng.choice(count, rows, p=shares / shares.sum())
    member[:count] = np.arange(count)
    vectors_ND = means_KD[member] + rng.normal(size=(rows, width))
    return vectors_ND.astype(np.float32), means_KD[member].astype(np.float32)


def test_four_clouds_are_found_and_numbered_by_their_first_row() -> None:
    # Four squares of side 2 with their centres at (+-10, +-10). The rows go round the clouds, so
    # row i is in cloud i % 4 and the clouds' first rows are rows 0 to 3.
    corners = ((-1, -1), (-1, 1), (1, -1), (1, 1))
    middles = ((10, 10), (-10, 10), (-10, -10), (10, -10))
    vectors_ND = points(*((mx + x, my + y) for x, y in corners for mx, my in middles))
    for seed in range(5):
        centers_KD = fit_clusters(vectors_ND, 4, seed)
        assert centers_KD == pytest.approx(np.array(middles), abs=1e-5)
        labels_N, distances_N = assign(vectors_ND, centers_KD)
        assert labels_N.tolist() == [0, 1, 2, 3] * 4
        assert distances_N == pytest.approx(np.full(16, np.sqrt(2)), abs=1e-5)


def test_one_cluster_has_the_mean_as_its_centre() -> None:
    vectors_ND = points((0, 0), (3, 0), (0, 6))
    assert fit_clusters(vectors_ND, 1, 0) == pytest.approx(np.array([[1, 2]]))


def test_as_many_clusters_as_rows() -> None:
    vectors_ND = points((5, 0), (0, 0), (9, 9))
    labels_N, distances_N = assign(vectors_ND, fit_clusters(vectors_ND, 3, 0))
    assert labels_N.tolist() == [0, 1, 2]
    assert distances_N == pytest.approx(np.zeros(3), abs=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_well_separated_groups_are_found_whatever_the_seed(seed: int) -> None:
    vectors_ND, means_ND = groups(3000, 32, 10)
    labels_N, _ = assign(vectors_ND, fit_clusters(vectors_ND, 10, seed))
    # 10 labels, 10 groups, and each label goes with one group
    assert len(np.unique(np.column_stack([labels_N, means_ND]), axis=0)) == 10


def test_order_of_the_clusters_depends_on_the_partition_alone() -> None:
    vectors_ND, _ = groups(400, 8, 4)
    centers = [fit_clusters(vectors_ND, 4, seed) for seed in range(4)]
    for other in centers[1:]:
        assert other == pytest.approx(centers[0], abs=1e-4)


def test_cluster_without_rows_comes_last() -> None:
    # Two distinct rows, three clusters: what the caller's check_distinct refuses for a whole set
    # can still happen in a sample of it.
    vectors_ND = points((1, 0), (0, 1), (1, 0), (0, 1), (1, 0))
    labels_N, distances_N = assign(vectors_ND, fit_clusters(vectors_ND, 3, 0))
    assert labels_N.tolist() == [0, 1, 0, 1, 0]
    assert distances_N == pytest.approx(np.zeros(5), abs=1e-6)


@pytest.mark.parametrize("scale", [1e-30, 1e-9, 1.0, 1e9, 1e30])
def test_scale_of_the_vectors_changes_no_label(scale: float) -> None:
    vectors_ND, means_ND = groups(300, 4, 3)
    scaled_ND = (vectors_ND.astype(np.float64) * scale).astype(np.float32)
    centers_KD = fit_clusters(scaled_ND, 3, 0)
    labels_N, distances_N = assign(scaled_ND, centers_KD)
    assert len(np.unique(np.column_stack([labels_N, means_ND]), axis=0)) == 3
    _, plain_N = assign(vectors_ND, fit_clusters(vectors_ND, 3, 0))
    assert distances_N == pytest.approx(plain_N * scale, rel=1e-4)


def test_lowest_number_wins_a_tie() -> None:
    # (0, 0) is 1 from each centre, (0.25, 0.25) nearer to the first and third alike
    centers_KD = points((0, 1), (-1, 0), (1, 0), (0, -1))
    for order in permutations(range(4)):
        labels_N, distances_N = assign(points((0, 0), (0.25, 0.25)), centers_KD[list(order)])
        assert labels_N[0] == 0
        assert labels_N[1] == min(order.index(0), order.index(2))
        assert distances_N[0] == 1.0


def test_labels_and_distances_are_those_of_float64() -> None:
    vectors_ND, centers_KD = normal(2000, 96), normal(7, 96, seed=1)
    difference_NKD = vectors_ND[:, None].astype(np.float64) - centers_KD[None].astype(np.float64)
    exact_NK = np.sqrt((difference_NKD**2).sum(axis=2))
    labels_N, distances_N = assign(vectors_ND, centers_KD)
    assert labels_N.tolist() == exact_NK.argmin(axis=1).tolist()
    assert distances_N == pytest.approx(exact_NK.min(axis=1), rel=1e-14)
    assert labels_N.dtype == np.int64
    assert distances_N.dtype == np.float64


def test_centres_closer_than_float32_can_tell_are_told_apart() -> None:
    # The rows lie a million away from the origin and the centres 0.25 apart: x.c is about 1e14,
    # where float32 has steps of 8e6.
    far = np.float32(2**20)
    centers_KD = np.array([(far + i / 4, far) for i in range(8)], dtype=np.float32)
    vectors_ND = centers_KD[[3, 0, 7, 5, 1]] + points((0, 0.125))
    labels_N, distances_N = assign(vectors_ND, centers_KD)
    assert labels_N.tolist() == [3, 0, 7, 5, 1]
    assert distances_N.tolist() == [0.125] * 5


@pytest.mark.parametrize("rows", [1, 17, 1000, 1024, 1025])
def test_label_and_distance_depend_on_the_row_alone_to_the_last_bit(rows: int) -> None:
    vectors_ND, centers_KD = normal(3000, 96), normal(9, 96, seed=1)
    # halfway between two centres, so that the last bits decide
    vectors_ND[::7] = (centers_KD[2] + centers_KD[5]) / 2
    labels_N, distances_N = assign(vectors_ND, centers_KD)
    end = min(len(vectors_ND), 100 * rows)
    parts = [assign(vectors_ND[i : min(i + rows, end)], centers_KD) for i in range(0, end, rows)]
    assert np.array_equal(np.concatenate([p[0] for p in parts]), labels_N[:end])
    assert np.array_equal(np.concatenate([p[1] for p in parts]), distances_N[:end])
    backwards = assign(np.ascontiguousarray(vectors_ND[::-1]), centers_KD)
    assert np.array_equal(backwards[0][::-1], labels_N)
    assert np.array_equal(backwards[1][::-1], distances_N)


def test_number_of_threads_changes_no_bit() -> None:
    vectors_ND = normal(6000, 48)
    with threadpool_limits(1):
        alone_KD = fit_clusters(vectors_ND, 12, 3)
        labels_N, distances_N = assign(vectors_ND, alone_KD)
    with threadpool_limits(4):
        assert np.array_equal(fit_clusters(vectors_ND, 12, 3), alone_KD)
        again_N, distances_again_N = assign(vectors_ND, alone_KD)
    assert np.array_equal(again_N, labels_N)
    assert np.array_equal(distances_again_N, distances_N)


def test_fits_side_by_side_agree_and_leave_the_thread_limits_as_they_were() -> None:
    vectors_ND = normal(1000, 32)
    with threadpool_limits(2, user_api="blas"):
        before = [pool["num_threads"] for pool in threadpool_info()]
        with ThreadPoolExecutor(4) as pool:
            fits = list(pool.map(lambda _: fit_clusters(vectors_ND, 4, 1), range(4)))
        assert [pool["num_threads"] for pool in threadpool_info()] == before
    for fit_KD in fits[1:]:
        assert np.array_equal(fit_KD, fits[0])


def test_blas_stays_at_one_thread_until_the_last_one_leaves() -> None:
    def blas() -> set[int]:
        return {p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"}

    with threadpool_limits(2, user_api="blas"):
        before = blas()
        with one_thread():
            with one_thread():
                assert blas() == {1}
            assert blas() == {1}
        assert blas() == before


def test_input_is_left_as_it_was_and_may_be_read_only() -> None:
    vectors_ND = normal(500, 6)
    copy_ND = vectors_ND.copy()
    vectors_ND.setflags(write=False)
    assign(vectors_ND, fit_clusters(vectors_ND, 5, 0))
    assert np.array_equal(vectors_ND, copy_ND)


def test_no_rows_to_assign() -> None:
    labels_N, distances_N = assign(np.zeros((0, 3), np.float32), points((0, 0, 1)))
    assert labels_N.shape == distances_N.shape == (0,)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_vectors_that_are_not_finite_are_counted(value: float) -> None:
    vectors_ND = normal(2000, 3)
    vectors_ND[[4, 1500], 1] = value
    with pytest.raises(DatasetError, match="2 of 2000 vectors"):
        fit_clusters(vectors_ND, 2, 0)
    with pytest.raises(DatasetError, match="2 of 2000 vectors"):
        assign(vectors_ND, points((0, 0, 0), (1, 1, 1)))


def test_fewer_rows_than_clusters() -> None:
    with pytest.raises(SelectionError, match=r"3 requested.* 2 rows"):
        fit_clusters(points((0, 0), (1, 1)), 3, 0)


def test_more_clusters_than_distinct_embeddings_names_both_numbers() -> None:
    vectors_ND = np.tile(points((0, 0), (0, 1), (1, 0)), (1000, 1))
    check_distinct(vectors_ND, 3)
    with pytest.raises(SelectionError, match=r"4 requested.*only 3 distinct.*--clusters to 3"):
        check_distinct(vectors_ND, 4)
    with pytest.raises(SelectionError, match="only 0 distinct"):
        check_distinct(vectors_ND[:0], 2)


def test_distinct_rows_late_in_the_set_count_and_zeros_have_no_sign() -> None:
    vectors_ND = np.zeros((5000, 2), dtype=np.float32)
    vectors_ND[1::2] = -0.0
    with pytest.raises(SelectionError, match="only 1 distinct"):
        check_distinct(vectors_ND, 2)
    vectors_ND[-1] = 1
    check_distinct(vectors_ND, 2)
    check_distinct(np.asfortranarray(vectors_ND), 2)


def test_rows_to_fit_on_grow_with_the_clusters() -> None:
    # 256 rows a cluster pass 20,000 at the 79th cluster: 79 * 256 = 20,224
    assert fit_rows(2) == fit_rows(78) == FIT_ROWS == 20_000
    assert fit_rows(79) == 20_224
