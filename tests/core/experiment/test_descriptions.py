"""What a choice is like, against numbers derived by hand."""

import math

import numpy as np
import polars as pl
import pytest

from crowdselect_core.errors import ConfigError
from crowdselect_core.experiment.choices import Choice, KeptAnswers, Pool
from crowdselect_core.experiment.descriptions import (
    Cost,
    cluster_shares,
    describe,
    entropy,
    nearest_distance,
)
from crowdselect_core.experiment.ngrams import ngrams
from crowdselect_core.selection.candidates import Candidates

KEPT = KeptAnswers(
    ["m0", "m1"],
    np.array([0, 1, 1, -1], dtype=np.int16),
    np.array([1.0, 2.0, 6.0, np.nan]),
    np.array([10, 20, 60, 0]),
)
RANKED = Candidates(np.zeros(4), np.ones(4, dtype=bool), np.array([0, 0, 7, 7]))
VECTORS = np.array([[1, 0], [0, 1], [0, 2], [0, 0]], dtype=np.float32)


def pool(**other: object) -> Pool:
    texts = ["A b a", "b c", None, "a b"]
    told = {"vectors_NW": VECTORS, "ngrams": ngrams(texts), "kept": {"best": KEPT}} | other
    return Pool(pl.Series(list("abcd")), np.array([3, 2, 0, 2]), **told)  # type: ignore[arg-type]


def choice(rows: list[int], response: str | None = "best") -> Choice:
    return Choice("c", 0, 3.0, np.array(rows, dtype=np.int32), RANKED, response)


def test_a_choice_by_hand() -> None:
    found = describe(pool(), [choice([2, 0, 1])], {"c": Cost(1000, 3000, 2.5)})
    (row,) = found.cells.to_dicts()
    assert row["rows"] == 3
    assert row["instruction_tokens"] == pytest.approx(5 / 3)
    assert row["answer_tokens"] == 90
    assert row["mean_answer_tokens"] == 30
    assert row["reward"] == 3
    assert row["models"] == 2
    assert row["clusters"] == 2
    # 2/3 and 1/3: -(2/3 log 2/3 + 1/3 log 1/3) = 0.636514
    assert row["cluster_entropy"] == pytest.approx(0.636514, abs=1e-6)
    assert row["distinct_1"] == pytest.approx(3 / 5)  # a b a, b c: a, b, c of 5
    assert row["distinct_2"] == 1.0  # ab ba, bc: 3 of 3; none across rows
    # (1,0) is at 1 of both others; (0,1) and (0,2) are at 0 of each other: 1/3
    assert row["nearest"] == pytest.approx(1 / 3)
    assert (row["answers_needed"], row["scores_needed"], row["cost_seconds"]) == (1000, 3000, 2.5)
    shares = {r["model"]: r["share"] for r in found.models.to_dicts()}
    assert shares == pytest.approx({"m0": 1 / 3, "m1": 2 / 3})
    shares = {r["cluster_id"]: r["share"] for r in found.clusters.to_dicts()}
    assert shares == pytest.approx({0: 2 / 3, 7: 1 / 3})


def test_rows_without_an_answer_count_in_no_mean() -> None:
    (row,) = describe(pool(), [choice([0, 3])]).cells.to_dicts()
    assert (row["answer_tokens"], row["mean_answer_tokens"], row["reward"]) == (10, 10, 1)


def test_what_is_not_there_is_null() -> None:
    bare = pool(vectors_NW=None, ngrams=None, kept={})
    bare_choice = Choice(
        "c", 0, 3.0, np.array([0], dtype=np.int32), Candidates(np.zeros(4), np.ones(4, dtype=bool))
    )
    (row,) = describe(bare, [bare_choice]).cells.to_dicts()
    unknown = {name for name, value in row.items() if value is None}
    assert unknown == {
        "answer_tokens", "mean_answer_tokens", "reward", "models", "clusters", "cluster_entropy",
        "distinct_1", "distinct_2", "nearest", "answers_needed", "scores_needed", "cost_seconds",
    }  # fmt: skip
    assert cluster_shares(bare_choice) == {}


def test_a_response_rule_that_the_pool_lacks_is_an_error() -> None:
    with pytest.raises(ConfigError, match="response rule 'random'"):
        describe(pool(), [choice([0], "random")])


def test_entropy_is_greatest_where_all_are_equal() -> None:
    assert entropy([0.25] * 4) == pytest.approx(math.log(4))
    assert entropy([1.0]) == 0
    assert entropy([]) == 0


def test_the_nearest_distance_equals_the_plain_one() -> None:
    vectors = np.random.default_rng(0).normal(size=(1100, 5)).astype(np.float32)  # over two blocks
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosine = unit.astype(np.float64) @ unit.T.astype(np.float64)
    np.fill_diagonal(cosine, -1)
    assert nearest_distance(vectors) == pytest.approx(
        float((1 - cosine.max(axis=1)).mean()), abs=1e-5
    )


def test_of_many_rows_a_seeded_draw_is_looked_at() -> None:
    vectors = np.random.default_rng(0).normal(size=(2500, 3)).astype(np.float32)
    assert nearest_distance(vectors, 1) == nearest_distance(vectors, 1)
    assert nearest_distance(vectors, 1) != nearest_distance(vectors, 2)
    assert nearest_distance(vectors, 1) > nearest_distance(vectors[:2000]) * 0.5


def test_a_vector_of_zeros_and_a_lone_row() -> None:
    assert nearest_distance(np.zeros((2, 3), dtype=np.float32)) == 1
    assert math.isnan(nearest_distance(np.ones((1, 3), dtype=np.float32)))


def test_texts_without_words() -> None:
    found = ngrams([None, "", "one"])
    assert all(math.isnan(v) for v in found.distinct(np.array([0, 1], dtype=np.int32)))
    first, second = found.distinct(np.array([2], dtype=np.int32))
    assert first == 1
    assert math.isnan(second)
    assert ngrams([]).n_words == 0
