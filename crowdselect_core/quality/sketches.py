"""MinHash sketches of texts, cut into bands: texts that agree in a band are candidates.

Broder, "On the resemblance and containment of documents" (1997); Leskovec, Rajaraman and Ullman,
"Mining of Massive Datasets", chapter 3. The sketches are made by `rensa`.

Shapes: N texts, U distinct ones, P = 128 permutations, B = 32 bands of P / B = 4 permutations.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crowdselect_core.errors import ConfigError
from crowdselect_core.quality.shingles import jaccard, shingles, words, words_key
from crowdselect_core.util.extras import install

Rows = NDArray[np.int64]
Bands = NDArray[np.uint64]

PERMUTATIONS, BANDS = 128, 32
SEED = 0  # of the permutations; texts are near-duplicates or not, whatever it is
RECALL = 0.999  # of pairs at the threshold, by the bands that they have to agree in
BATCH_TEXTS, BATCH_CHARACTERS = 4096, 4_000_000
HELD_SHINGLES = 2_000_000  # of texts that are being compared
HELD_PAIRS = 1_000_000  # pairs that are known to be different
MOST_DIFFERENT = 200  # comparisons of a text that fail, after which it is compared no more

_MULTIPLIERS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F], dtype=np.uint64)


def rensa() -> Any:
    """Return the library.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import rensa
    except ImportError:
        raise ConfigError(
            f"near-duplicates need rensa, which is not installed: {install('quality')}"
        ) from None
    return rensa


def bands_to_agree(threshold: float) -> int:
    """Return in how many bands a pair has to agree to be compared.

    A pair of Jaccard similarity J agrees in a band with probability J ** (P / B), so in a number of
    bands that is binomial. The result is the largest number that a pair at the threshold reaches
    with probability RECALL, at least 1.
    """
    p = threshold ** (PERMUTATIONS // BANDS)
    missed = 0.0
    for k in range(BANDS):
        missed += comb(BANDS, k) * p**k * (1 - p) ** (BANDS - k)  # of pairs with k or fewer
        if missed > 1 - RECALL:
            return max(k, 1)
    return BANDS


@dataclass(frozen=True)
class Distinct:
    """The distinct texts among N, in an order that follows from their words alone.

    Args:
        number_N: the distinct text of every text; -1 of one without words.
        first_U: the first text of every distinct one.
    """

    number_N: Rows
    first_U: Rows

    @classmethod
    def of(cls, keys: Iterable[bytes]) -> "Distinct":
        """Number texts by the key of their words (`shingles.words_key`); b'' is without words."""
        numbers: dict[bytes, int] = {}
        given = array("q")
        first: list[int] = []
        for i, key in enumerate(keys):
            number = numbers.setdefault(key, len(first)) if key else -1
            if number == len(first):
                first.append(i)
            given.append(number)
        order = [numbers[key] for key in sorted(numbers)]
        rank = np.empty(len(order) + 1, dtype=np.int64)
        rank[order] = np.arange(len(order))
        rank[-1] = -1
        return cls(rank[np.array(given, dtype=np.int64)], np.array(first, dtype=np.int64)[order])


def sketched(texts: Iterable[Sequence[str]], count: int) -> tuple[Bands, Rows]:
    """Return the bands of texts, and how many shingles each has.

    Args:
        texts: the words of each.
        count: how many there are.

    Raises:
        ConfigError: rensa is not installed.
    """
    bands_UB = np.empty((count, BANDS), dtype=np.uint64)
    sizes_U = np.empty(count, dtype=np.int64)
    sketch = rensa().RMinHash.digest_matrix_from_token_sets
    done = 0
    for batch in _batches(texts):
        end = done + len(batch)
        rows = sketch(batch, PERMUTATIONS, SEED).to_rows()
        bands_UB[done:end] = _banded(np.array(rows, dtype=np.uint32))
        sizes_U[done:end] = [len(one) for one in batch]
        done = end
    return bands_UB, sizes_U


def _batches(texts: Iterable[Sequence[str]]) -> Iterator[list[set[str]]]:
    """Yield the shingles of texts, of some at a time."""
    batch: list[set[str]] = []
    characters = 0
    for said in texts:
        batch.append(shingles(said))
        characters += sum(map(len, said))
        if len(batch) >= BATCH_TEXTS or characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


class Sketches:
    """Distinct texts with their sketches.

    Memory: about 0.5 kB a text beside the texts themselves.

    Args:
        distinct: the distinct texts among all.
        bands_UB: what `sketched` gave for them.
        sizes_U: the same.
        text: gives the text of a row among all: of the first of every distinct one that agrees in
            a band with another.
        threshold: Jaccard similarity from which two texts are near-duplicates.
    """

    def __init__(
        self,
        distinct: Distinct,
        bands_UB: Bands,
        sizes_U: Rows,
        text: Callable[[int], str],
        threshold: float,
    ) -> None:
        self.distinct_N, self._first_U = distinct.number_N, distinct.first_U
        self.bands_UB, self.sizes_U = bands_UB, sizes_U
        self._text, self.threshold = text, threshold
        self._sets: dict[int, set[str]] = {}
        self._held = 0
        self._different: set[int] = set()
        self._failed_U = np.zeros(len(self), dtype=np.int32)

    @classmethod
    def of(cls, texts: Sequence[str], threshold: float) -> "Sketches":
        """Sketch some texts, repeated ones too."""
        distinct = Distinct.of(words_key(words(text)) for text in texts)
        spoken = (words(texts[i]) for i in distinct.first_U.tolist())
        bands_UB, sizes_U = sketched(spoken, len(distinct.first_U))
        return cls(distinct, bands_UB, sizes_U, texts.__getitem__, threshold)

    def __len__(self) -> int:
        return len(self._first_U)

    def _shingles(self, distinct: int) -> set[str]:
        return shingles(words(self._text(int(self._first_U[distinct]))))

    @cached_property
    def _agreeing(self) -> int:
        return bands_to_agree(self.threshold)

    def promising(self, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell which pairs of distinct texts are worth a comparison, by size and by bands.

        A text `a` that was compared with MOST_DIFFERENT others in vain is left alone.
        """
        low = np.minimum(self.sizes_U[a], self.sizes_U[b])
        high = np.maximum(self.sizes_U[a], self.sizes_U[b])
        found = low >= self.threshold * high  # the Jaccard similarity is at most low / high
        found &= self._failed_U[a] < MOST_DIFFERENT
        left = np.flatnonzero(found)
        for cut in np.array_split(left, -(-len(left) // 65_536) or 1):
            same = self.bands_UB[a[cut]] == self.bands_UB[b[cut]]
            found[cut] = same.sum(axis=1) >= self._agreeing
        return found

    def are_near(self, a: int, b: int) -> bool:
        """Compare two distinct texts by the exact Jaccard similarity of their shingles."""
        pair = min(a, b) * len(self) + max(a, b)
        if pair in self._different:
            return False
        if jaccard(self._held_shingles(a), self._held_shingles(b)) >= self.threshold:
            return True
        if len(self._different) >= HELD_PAIRS:
            self._different.clear()
        self._different.add(pair)
        self._failed_U[a] += 1
        return False

    def _held_shingles(self, distinct: int) -> set[str]:
        found = self._sets.get(distinct)
        if found is None:
            found = self._shingles(distinct)
            if self._held + len(found) > HELD_SHINGLES:
                self._sets.clear()
                self._held = 0
            self._sets[distinct] = found
            self._held += len(found)
        return found


def _banded(digests_UP: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """Return one number a band, a hash of its four."""
    halves_UBH = np.ascontiguousarray(digests_UP).view(np.uint64).reshape(-1, BANDS, 2)
    mixed_UB: NDArray[np.uint64] = (halves_UBH * _MULTIPLIERS).sum(axis=2, dtype=np.uint64)
    return mixed_UB ^ (mixed_UB >> np.uint64(32))
