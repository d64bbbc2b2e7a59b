"""Near-duplicates: planted pairs are found, no other pair is, and the order changes nothing."""

import random
import sys

import numpy as np
import pytest

from crowdselect_core.errors import ConfigError
from crowdselect_core.quality.near_duplicates import near_duplicate_groups, near_duplicates_among
from crowdselect_core.quality.shingles import jaccard, shingles, words
from crowdselect_core.quality.sketches import bands_to_agree

RNG = random.Random(0)


def sentence(n: int) -> list[str]:
    return [f"w{RNG.randrange(100_000)}" for _ in range(n)]


def test_words_and_shingles_by_hand() -> None:
    assert words("Hello,  WORLD! It's 2+3.") == ["hello", "world", "it", "s", "2", "+", "3"]
    assert words("Cafe\u0301 Straße") == ["caf\u00e9", "strasse"]  # NFC, casefold
    assert words("今日は good 天気") == ["今", "日", "は", "good", "天", "気"]
    assert words("हिन्दी भाषा") == ["हिन्दी", "भाषा"]  # marks belong to their word
    assert words("👍 👍") == ["👍", "👍"]  # symbols alone
    assert words(" \n\t") == []
    assert shingles(list("abcdef")) == {"a b c d e", "b c d e f"}
    assert shingles(["a", "b"]) == {"a b"}  # fewer than five words: all of them
    assert shingles([]) == set()
    assert jaccard({"a", "b", "c"}, {"b", "c", "d"}) == 0.5
    assert jaccard(set(), set()) == 0.0


def test_bands_a_pair_at_the_threshold_agrees_in() -> None:
    # J = 1 agrees in all 32 bands; at 0.7 it agrees in one with 0.2401, so in none with 1.5e-4
    assert bands_to_agree(1.0) == 32
    assert bands_to_agree(0.7) == 1
    assert 1 < bands_to_agree(0.8) < bands_to_agree(0.9) < 32


def planted(n: int) -> tuple[list[str], list[str]]:
    """Return texts and copies at a Jaccard similarity of exactly 0.8.

    A text of 40 words has 36 shingles. With 4 words replaced at its end 32 of them stay, and 4 more
    come: 32 / 40 = 0.8.
    """
    texts = [sentence(40) for _ in range(n)]
    copies = [[*t[:-4], *sentence(4)] for t in texts]
    return [" ".join(t) for t in texts], [" ".join(c) for c in copies]


def test_planted_pairs_at_the_threshold_are_found_and_no_others() -> None:
    texts, copies = planted(600)
    strangers = [" ".join(sentence(40)) for _ in range(600)]
    just_below = [" ".join([*t.split()[:-5], *sentence(5)]) for t in texts[:200]]  # 31 / 41
    order = RNG.sample(range(600), 600)
    found = near_duplicates_among(
        [*texts, *strangers], [*(copies[i] for i in order), *strangers[:1]]
    )
    right = sum(i >= 0 and order[i] == n for n, i in enumerate(found[:600]))
    assert right >= 0.95 * 600
    assert ((found[:600] == -1) | (found[:600] < 600)).all()
    assert found[600] == 600  # the same text
    assert (found[601:] == -1).all()
    assert (near_duplicates_among(just_below, texts) == -1).all()
    groups = near_duplicate_groups([*texts, *copies, *strangers])
    assert (groups[600:1200] == np.arange(600)).mean() >= 0.95
    assert (groups[1200:] == np.arange(1200, 1800)).all()


def small_texts() -> list[str]:
    """Return texts of few words, so that many pairs lie on both sides of the threshold."""
    base = [f"{i} {i + 1} {i + 2} {i + 3}" for i in range(4)]
    numbers = [f"n{i}" for i in range(12)]
    tails = [numbers[:n] for n in (1, 2, 6, 10, 11, 12)]
    made = [f"{b} {' '.join(t)}" for b in base for t in tails]
    return [*made, "", "a", "A!", "b", *made[:5]]


def test_equals_a_comparison_of_all_pairs() -> None:
    texts = small_texts()
    sets = [shingles(words(t)) for t in texts]
    near = [[jaccard(a, b) >= 0.8 for b in sets] for a in sets]
    half = len(texts) // 2
    found = near_duplicates_among(texts[:half], texts[half:])
    for i in range(half):
        assert (found[i] >= 0) == any(near[i][half:]), texts[i]
        assert found[i] < 0 or near[i][half + found[i]]
    groups = near_duplicate_groups(texts)
    expected = list(range(len(texts)))
    for _ in texts:  # labels spread until nothing changes
        for i, row in enumerate(near):
            expected[i] = min(
                [expected[i], *(expected[j] for j, is_near in enumerate(row) if is_near)]
            )
    assert groups.tolist() == expected


def test_the_order_of_the_texts_changes_nothing() -> None:
    texts = [*planted(50)[0], *small_texts()]
    order = RNG.sample(range(len(texts)), len(texts))
    groups = near_duplicate_groups(texts)
    again = near_duplicate_groups([texts[i] for i in order])
    assert {tuple(sorted(np.flatnonzero(groups == g).tolist())) for g in groups} == {
        tuple(sorted(order[i] for i in np.flatnonzero(again == g))) for g in again
    }
    found = near_duplicates_among(texts, texts[:30])
    shuffled = near_duplicates_among([texts[i] for i in order], texts[:30])
    assert (shuffled == found[order]).all()


def test_texts_that_all_resemble_each_other() -> None:
    """One text 4,000 times, and 1,000 that differ in a word: no comparison of all pairs."""
    template = " ".join(sentence(60))
    alike = [f"{template} {n}" for n in range(1000)]
    groups = near_duplicate_groups([*[template] * 4000, *alike, "something else"])
    assert (groups[:-1] == 0).all()
    assert groups[-1] == len(groups) - 1
    found = near_duplicates_among(alike, ["x", template, template])
    assert (found == 1).all()


def test_empty_and_odd_texts() -> None:
    assert near_duplicates_among([], ["a"]).tolist() == []
    assert near_duplicates_among(["", "a", "\ud800"], []).tolist() == [-1, -1, -1]
    assert near_duplicates_among(["", " "], ["", " "]).tolist() == [-1, -1]  # without words
    assert near_duplicate_groups([]).tolist() == []
    assert near_duplicate_groups(["", "\n", ""]).tolist() == [0, 1, 2]
    assert near_duplicates_among(["Ⅷ x"], ["ⅷ X!"]).tolist() == [0]
    long = " ".join(sentence(60_000))  # 0.4 MB
    assert near_duplicate_groups([long, long + " end", "end"]).tolist() == [0, 0, 2]


def test_text_without_spaces() -> None:
    text = "".join(chr(0x4E00 + RNG.randrange(5000)) for _ in range(60))
    assert near_duplicates_among([text], [text[:-2] + "終了"]).tolist() == [0]  # 54 / 58
    assert near_duplicates_among([text], [text[::-1]]).tolist() == [-1]


def test_without_rensa_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rensa", None)
    with pytest.raises(ConfigError, match=r"-e '\.\[quality\]'"):
        near_duplicate_groups(["a"])


@pytest.mark.parametrize("threshold", [0.0, 0.69, 1.01, float("nan")])
def test_a_threshold_that_the_bands_do_not_reach(threshold: float) -> None:
    with pytest.raises(ValueError, match=r"0\.7 to 1"):
        near_duplicate_groups(["a"], threshold)
