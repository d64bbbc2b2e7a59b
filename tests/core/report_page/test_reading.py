"""The statistics of the page against values derived by hand, scipy and numpy."""

import base64
import gzip
import json

import numpy as np
import polars as pl
import pytest
from scipy import stats

from crowdselect_core.report.page.packing import pack_columns, pack_json, smallest
from crowdselect_core.report.page.sampling import MOST_CHOSEN, MOST_ROWS, sampled
from crowdselect_core.report.page.sections.clusters import top_terms
from crowdselect_core.report.page.sections.correlations import rho
from crowdselect_core.report.page.sections.crowd import Tally
from crowdselect_core.report.page.sections.distributions import shares
from crowdselect_core.report.page.sections.embedding_map import drawn_nearer, principal
from crowdselect_core.report.page.sections.sliders import NONE, dense_ranks
from crowdselect_core.report.page.texts import clipped, in_one_line, visible

NAN = float("nan")


def unpacked(block: bytes) -> bytes:
    return gzip.decompress(base64.b64decode(block))


def test_columns_lie_in_planes_of_bytes() -> None:
    data = unpacked(
        pack_columns({"a": np.array([1, 258], np.uint16), "b": np.array([7], np.uint8)})
    )
    header, _, planes = data.partition(b"\0")
    assert json.loads(header) == [["a", "uint16", 2], ["b", "uint8", 1]]
    assert planes == bytes([1, 2, 0, 1, 7])  # the low bytes of 1 and 258, the high ones, then b
    with pytest.raises(TypeError, match="column c is int64"):
        pack_columns({"c": np.array([1])})


def test_json_takes_any_text_and_no_nan() -> None:
    texts = ["</script>", "a\u2028b", "é🦙"]
    assert json.loads(unpacked(pack_json(texts))) == texts
    with pytest.raises(ValueError, match="JSON"):
        pack_json([NAN])


@pytest.mark.parametrize(("most", "kind"), [(255, "uint8"), (256, "uint16"), (65_536, "uint32")])
def test_whole_numbers_take_the_smallest_type(most: int, kind: str) -> None:
    assert smallest(np.array([0, most])).dtype == kind


def test_dense_ranks() -> None:
    ranks = dense_ranks(np.array([0.5, NAN, -1.0, 0.5, 2.0]))
    assert ranks.tolist() == [1, NONE, 0, 1, 2]


def test_the_crowd_by_hand() -> None:
    tally = Tally.empty(3)
    tally.add(np.array([[1.0, 2.0, NAN], [3.0, 3.0, NAN]]))
    tally.add(np.array([[5.0, NAN, NAN]]))
    assert tally.n_M.tolist() == [3, 2, 0]
    assert tally.win_rate(0, 1) == 0.25  # a loss and a tie
    assert tally.win_rate(1, 0) == 0.75
    assert tally.win_rate(0, 2) is None
    assert tally.mean(2) == (None, None, None)
    mean, low, high = tally.mean(0)
    assert mean == 3.0
    half = 1.959963984540054 * 2 / 3**0.5  # values 1, 3, 5: standard deviation 2
    assert (low, high) == (pytest.approx(3 - half), pytest.approx(3 + half))


def test_the_interval_is_that_of_scipy() -> None:
    values = np.random.default_rng(0).gamma(2.0, size=(300, 1))
    tally = Tally.empty(1)
    tally.add(values)
    expected = stats.norm.interval(0.95, values.mean(), stats.sem(values[:, 0]))
    assert tally.mean(0)[1:] == pytest.approx(expected)


def test_the_rank_correlation_is_that_of_scipy() -> None:
    rng = np.random.default_rng(1)
    a = rng.integers(0, 20, 200).astype(float)
    b = a + rng.normal(0, 5, 200).round()
    expected = stats.spearmanr(a, b).statistic
    assert rho(pl.Series(a), pl.Series(b)) == pytest.approx(expected)
    assert rho(pl.Series([1.0, None, 2.0]), pl.Series([5.0, 1.0, 5.0])) is None  # one is constant
    assert rho(pl.Series([1.0, None, 2.0]), pl.Series([5.0, 1.0, 4.0])) == -1


def test_shares_of_bins_take_in_the_ends() -> None:
    edges = np.array([0.0, 1.0, 2.0, 3.0])
    assert shares(np.array([-9.0, 0.0, 1.0, 2.0, 99.0]), edges).tolist() == [0.4, 0.2, 0.4]


def test_principal_components_are_those_of_the_covariance() -> None:
    rng = np.random.default_rng(2)
    vectors = (rng.normal(size=(200, 5)) * [5, 3, 1, 1, 1]).astype(np.float32)
    xy, share = principal(vectors)
    _, values, axes = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    expected = (vectors - vectors.mean(axis=0)) @ axes[:2].T
    assert np.abs(xy) == pytest.approx(np.abs(expected), abs=1e-3)
    assert share == pytest.approx((values[:2] ** 2).sum() / (values**2).sum())
    assert principal(np.ones((3, 1), np.float32))[0].shape == (3, 2)


def test_terms_set_clusters_apart() -> None:
    texts = [
        (0, "write python code"), (0, "python code please"), (0, "write code"),
        (1, "write a poem"), (1, "a poem"), (1, "please"), (1, None),
    ]  # fmt: skip
    found = top_terms(pl.DataFrame(texts, schema=["cluster_id", "text"], orient="row"))
    # p ln(p / P): code 1 * ln 2, python 2/3 * ln 2; write has p = 2/3 and P = 1/2
    assert found[0] == ["code", "python"]
    assert found[1] == ["poem"]  # 'a' is one letter


def test_far_points_are_drawn_nearer() -> None:
    drawn = drawn_nearer(np.array([0.0, 1.0, 2.0, 3.0, 1000.0]))  # quartiles 1, 2, 3
    assert drawn == pytest.approx(np.arcsinh([-1, -0.5, 0, 0.5, 499]))
    assert drawn_nearer(np.array([1.0, 1.0, 1.0])).tolist() == [1, 1, 1]


def test_the_sample_has_the_chosen_rows_and_does_not_depend_on_the_order() -> None:
    n = MOST_ROWS + 500
    ids = [f"{i:06d}" for i in range(n)]
    rank = [i + 1 if i < 40 else None for i in range(n)]
    rows = pl.DataFrame({"instruction_id": ids, "rank": rank})
    one = sampled(rows, 7)
    other = sampled(rows.reverse(), 7)
    assert one.height == MOST_ROWS
    assert one["rank"].count() == 40 < MOST_CHOSEN
    assert set(one["instruction_id"]) == set(other["instruction_id"])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x00b\x1b[0m", "a\\x00b\\x1b[0m"),
        ("\u202eevil\u2066", "\\u202eevil\\u2066"),
        ("two\r\nlines\tand", "two\nlines\tand"),
        ("می\u200cخواهم 👩\u200d💻", "می\u200cخواهم 👩\u200d💻"),  # joiners belong to the words
        ("\ud800x", "\\ud800x"),
    ],
)
def test_what_cannot_be_seen_is_shown(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_long_texts_are_cut() -> None:
    assert clipped("x" * 50_000_000, 10) == ("x" * 10, 50_000_000)
    assert clipped(None, 10) == (None, 0)
    assert in_one_line("a " * 1000, 5) == "a a …"
