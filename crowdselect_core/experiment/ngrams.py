"""Distinct n-grams of chosen rows, counted from codes that are made once for the whole pool.

Source: Li et al., "A diversity-promoting objective function", NAACL 2016: distinct-n is the number
of different n-grams over the number of all.

Array names carry their shape: N rows of the pool, T tokens of all rows, B chosen rows.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int32]
Ints = NDArray[np.int64]

WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Ngrams:
    """The words and word pairs of every row, as numbers.

    Attributes:
        starts: where each row starts in `words_T`; one more entry for the end.
        words_T: the words' numbers. pairs_T: the number of the pair of a word and the next one of
            its row, -1 for the last word of a row.
        n_words, n_pairs: how many different ones there are.
    """

    starts: Ints
    words_T: Codes
    pairs_T: Codes
    n_words: int
    n_pairs: int

    def distinct(self, rows_B: NDArray[np.int32]) -> tuple[float, float]:
        """Return distinct-1 and distinct-2 of some rows together, 0..1, higher: more varied.

        NaN where they have no word, or no pair. Both fall as rows are added: compare choices of one
        size.
        """
        length_B = self.starts[rows_B + 1] - self.starts[rows_B]
        total = int(length_B.sum())
        before_B = np.cumsum(length_B) - length_B
        places = np.arange(total) + np.repeat(self.starts[rows_B] - before_B, length_B)
        pairs = self.pairs_T[places]
        return (
            _share(self.words_T[places], self.n_words),
            _share(pairs[pairs >= 0], self.n_pairs),
        )


def ngrams(texts: Iterable[str | None]) -> Ngrams:
    """Return the words (runs of letters and digits, lower case) and word pairs of every text.

    Args:
        texts: one per row of the pool; null has no word.
    """
    number_of: dict[str, int] = {}
    lengths: list[int] = [0]
    numbers: list[Codes] = []
    for text in texts:
        words = WORD.findall(text.lower()) if text else []
        numbers.append(
            np.array([number_of.setdefault(w, len(number_of)) for w in words], dtype=np.int32)
        )
        lengths.append(len(words))
    starts = np.cumsum(np.array(lengths, dtype=np.int64))
    words_T = np.concatenate(numbers) if numbers else np.empty(0, dtype=np.int32)
    pairs_T = np.full(len(words_T), -1, dtype=np.int32)
    inside = np.ones(len(words_T), dtype=np.bool_)
    ends = starts[1:]
    inside[ends[ends > starts[:-1]] - 1] = False  # the last word of a row has no next one
    (firsts,) = np.nonzero(inside)
    both = words_T[firsts].astype(np.int64) * max(len(number_of), 1) + words_T[firsts + 1]
    different, codes = np.unique(both, return_inverse=True)
    pairs_T[firsts] = codes
    return Ngrams(starts, words_T, pairs_T, len(number_of), len(different))


def _share(codes: Codes, n_codes: int) -> float:
    if not len(codes):
        return float("nan")
    seen = np.zeros(n_codes, dtype=np.bool_)
    seen[codes] = True
    return float(seen.sum()) / len(codes)
