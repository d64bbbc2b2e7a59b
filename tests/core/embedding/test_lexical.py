"""Lexical embeddings, their terms, and the rows an embedder is fitted on.

Array names carry their shape: N texts, W width.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

import numpy as np
import polars as pl
import pytest
from threadpoolctl import threadpool_limits

from crowdselect_core.embedding import (
    Embedder,
    Vectors,
    base,
    fit_lexical,
    fit_sample,
    fit_vectors,
)
from crowdselect_core.embedding.tokenizing import terms
from crowdselect_core.errors import DatasetError
from crowdselect_core.util.hashed_random import uniform

STRANGE = [
    "",
    " \t\n",
    "\0",
    "nul \0 inside",
    "<script>alert(1)</script> [link](http://example.org)",
    "\ud800 a lone surrogate",
    "🙂🙂",
    "?!",
    "x" * 5000,
    "什么是量子计算？",
    "ทะเลสวยมาก",
    "आज मौसम कैसा है",
    "مرحبا بالعالم",
]
TOPICS = {
    "cooking": ["bake bread with flour and yeast", "knead the flour dough", "yeast bread dough"],
    "space": ["the planet orbits a star", "a star and its planet", "orbits of a planet and moon"],
}


def synthetic(count: int, seed: int = 0) -> list[str]:
    """Make texts of 1 to 30 words out of 500."""
    rng = np.random.default_rng(seed)
    return [
        " ".join(f"w{w}" for w in rng.integers(500, size=rng.integers(1, 31))) for _ in range(count)
    ]


def in_parts(embedder: Embedder, texts: Sequence[str], size: int) -> Vectors:
    starts = range(0, len(texts), size)
    return np.concatenate([embedder.transform(texts[s : s + size]) for s in starts])


# Terms


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What's 2 + x_1?", ["what", "s", "2", "x_1"]),
        ("Straße ÉTÉ ﬁne Ａ", ["straße", "été", "fine", "a"]),  # NFKC: the ligature, full width
        ("हिन्दी में", ["हिन्दी", "में"]),  # vowel signs and viramas are part of the word
        ("학교에 가다", ["학교에", "가다"]),  # Korean puts spaces
        ("量子x計算", ["x", "量", "子", "量子", "計", "算", "計算"]),
        ("日 本", ["日", "本"]),
        ("น้ำ", ["น", "้", "ํ", "า", "น้", "้ํ", "ํา"]),  # marks count, NFKC takes SARA AM apart
        ("a" * 85, ["a" * 40, "a" * 40, "a" * 5]),
        ("é" * 41, ["é" * 40, "é"]),
        ("<b>\0</b>", ["b", "b"]),
        ("🙂 … “”", []),
        ("", []),
    ],
)
def test_terms_of_a_text(text: str, expected: list[str]) -> None:
    assert terms(text) == expected


# Lexical


def test_texts_on_one_topic_are_closer_than_texts_on_two() -> None:
    texts = [text for topic in TOPICS.values() for text in topic]
    vectors_NW = fit_lexical(texts, seed=0).transform(texts)
    likeness_NN = vectors_NW @ vectors_NW.T
    within = [likeness_NN[i, j] for i, j in combinations(range(6), 2) if i // 3 == j // 3]
    across = likeness_NN[:3, 3:]  # "a" and "and" stand in both
    assert np.mean(within) > across.mean() + 0.25


def test_weights_are_tf_times_squared_idf() -> None:
    # Three texts, the terms a in all, b in two, c in one: idf = 1 + ln(4/4), 1 + ln(4/3) and
    # 1 + ln(4/2). As many components as terms only turn the space, so the cosines stay as by hand.
    texts = ["a b", "a b b c", "a"]
    a, b, c = 1.0, (1 + np.log(4 / 3)) ** 2, (1 + np.log(2)) ** 2
    rows = [(a, b, 0), (a, (1 + np.log(2)) * b, c), (a, 0, 0)]
    unit_NV = np.array([np.array(row) / np.linalg.norm(row) for row in rows])
    embedder = fit_lexical(texts, seed=0)
    vectors_NW = embedder.transform(texts)
    assert embedder.width == 3
    assert vectors_NW @ vectors_NW.T == pytest.approx(unit_NV @ unit_NV.T, abs=1e-5)


def test_texts_in_scripts_without_spaces_meet_in_their_words() -> None:
    texts = ["量子计算是什么", "请解释量子计算", "如何做面包", "做面包要多久", "ขนมปังทำอย่างไร"]
    vectors_NW = fit_lexical(texts, seed=0).transform(texts)
    likeness_NN = vectors_NW @ vectors_NW.T
    assert likeness_NN[0, 1] > likeness_NN[0, 2:].max() + 0.2
    assert likeness_NN[2, 3] > max(likeness_NN[2, 0], likeness_NN[2, 1], likeness_NN[2, 4]) + 0.2


def test_every_string_has_a_finite_vector_of_length_one_or_none() -> None:
    embedder = fit_lexical([*STRANGE, *synthetic(50)], seed=0)
    vectors_NW = embedder.transform([*STRANGE, "unseen"])
    lengths_N = np.linalg.norm(vectors_NW, axis=1)
    assert vectors_NW.dtype == np.float32
    assert vectors_NW.shape == (len(STRANGE) + 1, embedder.width)
    assert all(length == 0 or length == pytest.approx(1) for length in lengths_N)
    without_terms = [STRANGE.index(text) for text in ("", " \t\n", "\0", "🙂🙂", "?!")]
    assert (lengths_N[without_terms] == 0).all()
    assert lengths_N[-1] == 0
    assert lengths_N[STRANGE.index("什么是量子计算？")] == pytest.approx(1)
    assert embedder.transform([]).shape == (0, embedder.width)


@pytest.mark.parametrize(
    ("texts", "width"),
    [
        (["one", "two"], 2),  # as many components as rows
        (["same words", "same words"], 1),  # rank 1
        (["hello", "hello hello"], 1),  # a single term
        (["", "word"], 1),
        (["a"], 1),
    ],
)
def test_width_shrinks_to_what_the_texts_allow(texts: list[str], width: int) -> None:
    embedder = fit_lexical(texts, seed=0)
    assert embedder.width == width
    vectors_NW = embedder.transform(texts)
    assert np.linalg.norm(vectors_NW, axis=1) == pytest.approx([1.0 if t else 0.0 for t in texts])


def test_width_is_what_was_asked_for_where_the_texts_allow_it() -> None:
    assert fit_lexical(synthetic(300), seed=0, dimensions=17).width == 17


@pytest.mark.parametrize("texts", [["", " "], ["?", "🙂"], []])
def test_texts_without_a_word_are_an_error_that_says_what_to_do(texts: list[str]) -> None:
    with pytest.raises(DatasetError, match=rf"none of {len(texts)} instructions.*--clusters 0"):
        fit_lexical(texts, seed=0)


def test_a_vector_depends_on_its_text_alone_to_the_last_bit() -> None:
    texts = synthetic(4500)
    embedder = fit_lexical(texts[:1000], seed=0)
    vectors_NW = embedder.transform(texts)
    assert np.array_equal(in_parts(embedder, texts, 999), vectors_NW)
    assert np.array_equal(in_parts(embedder, texts[:100], 1), vectors_NW[:100])
    assert np.array_equal(embedder.transform(texts[::-1])[::-1], vectors_NW)
    with ThreadPoolExecutor(3) as pool:
        for other_NW in pool.map(embedder.transform, [texts] * 3):
            assert np.array_equal(other_NW, vectors_NW)


def test_fit_is_the_same_on_any_number_of_threads_and_follows_its_seed() -> None:
    texts = synthetic(1500)
    with threadpool_limits(1):
        alone_VW = fit_lexical(texts, seed=5).components_VW
    with threadpool_limits(4):
        assert np.array_equal(fit_lexical(texts, seed=5).components_VW, alone_VW)
    assert not np.array_equal(fit_lexical(texts, seed=6).components_VW, alone_VW)


# The rows to fit on


@pytest.mark.parametrize("at_once", [1, 7, 50])
def test_rows_to_fit_on_are_those_with_the_smallest_draws_in_id_order(
    at_once: int,
) -> None:
    ids = [f"row-{i}" for i in range(50)]
    draws = dict(zip(ids, uniform(ids, 7, "fit").tolist(), strict=True))
    expected = sorted(sorted(ids, key=lambda i: draws[i])[:12])
    parts = (pl.Series(ids[start : start + at_once]) for start in range(0, len(ids), at_once))
    chosen = fit_sample(parts, 12, 7)
    assert [ids[i] for i in chosen] == expected
    assert chosen.dtype == np.int64


def test_rows_to_fit_on_do_not_depend_on_the_order_of_the_rows() -> None:
    ids = np.array([f"{i:x}-日" for i in range(1000)])
    chosen = ids[fit_sample([pl.Series(ids)], 100, 0)].tolist()
    for seed in range(3):
        mixed = np.random.default_rng(seed).permutation(ids)
        assert mixed[fit_sample([pl.Series(mixed)], 100, 0)].tolist() == chosen
    assert ids[fit_sample([pl.Series(ids)], 100, 1)].tolist() != chosen


@pytest.mark.parametrize("rows", [1, 12, 200, 300])
@pytest.mark.parametrize("spare", [-0.5, 0, 8])
def test_vectors_to_fit_on_are_those_of_the_rows_to_fit_on(
    rows: int, spare: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the guess of the largest draw that is needed."""
    monkeypatch.setattr(base, "SPARE", spare)
    rng = np.random.default_rng(rows)
    ids = pl.Series([f"row-{i}" for i in rng.permutation(200)])
    vectors_ND = rng.normal(size=(200, 3)).astype(np.float32)
    table = pl.DataFrame({"instruction_id": ids, "vector": vectors_ND})
    passes: list[int] = []

    def frames() -> Iterator[pl.DataFrame]:
        passes.append(0)
        yield from table.iter_slices(30)

    found_ND = fit_vectors(frames, 200, rows, 7)
    assert found_ND.tobytes() == vectors_ND[fit_sample([ids], rows, 7)].tobytes()
    assert len(passes) == 1 or spare <= 0


def test_all_rows_in_id_order_where_there_are_no_more() -> None:
    assert fit_sample([pl.Series(["c", "a"]), pl.Series(["b"])], 3, 0).tolist() == [1, 2, 0]
    assert fit_sample([pl.Series([], dtype=pl.String)], 3, 0).tolist() == []


def test_importing_the_module_loads_no_heavy_library() -> None:
    program = (
        "import sys, crowdselect_core.embedding, crowdselect_core.embedding.kmeans;"
        "print({'sklearn', 'scipy', 'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.strip() == "set()"
