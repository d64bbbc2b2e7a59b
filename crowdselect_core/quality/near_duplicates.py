"""Near-duplicates: texts whose word 5-grams overlap, found by MinHash and verified exactly.

Two texts are near-duplicates when the Jaccard similarity of their sets of shingles
(`quality.shingles`) is at least the threshold. Candidates agree in bands of their MinHash sketches
(`quality.sketches`); every candidate is compared exactly, so no pair comes out that is none. A pair
at the threshold is found with a probability of at least 0.999.

Texts are compared with at most `WINDOW` others of a band, those that agree in the next bands first,
and a text with at most `MOST_DIFFERENT` others that turn out to be none. So the work is linear in
the number of texts, also where very many resemble each other; a near-duplicate among very many
texts that are nearly one can be missed. Texts of the same words count as one. The result depends on
the texts alone, and not on their order.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from crowdselect_core.quality.sketches import BANDS, Sketches

THRESHOLD = 0.8
LOWEST = 0.7  # below it, 32 bands miss more than one pair in a thousand
WINDOW = 50

Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]


def near_duplicates_among(
    texts: Sequence[str], others: Sequence[str], threshold: float = THRESHOLD
) -> NDArray[np.int64]:
    """Return for every text the place of a near-duplicate in `others`, or -1.

    Of several near-duplicates it is one that agrees in the first band; of equal texts the first.

    Args:
        texts: what is looked at.
        others: what is looked for, e.g. the prompts of held-out rows or of a benchmark.
        threshold: the Jaccard similarity from which two texts are near-duplicates, 0.7 to 1.

    Raises:
        ConfigError: rensa is not installed.
        ValueError: the threshold is out of range.
    """
    _check(threshold)
    sketches = Sketches.of([*texts, *others], threshold)
    own_N, sought_M = sketches.distinct_N[: len(texts)], sketches.distinct_N[len(texts) :]
    found_U = np.full(len(sketches) + 1, -1, dtype=np.int64)  # the last one: no words
    named = np.flatnonzero(sought_M >= 0)[::-1]
    found_U[sought_M[named]] = named  # backwards, so that the first of equal texts stays
    place_U = found_U.copy()
    is_own_U = np.zeros(len(sketches), dtype=bool)
    is_own_U[own_N[own_N >= 0]] = True
    for a, b in _pairs_with(sketches, is_own_U & (found_U[:-1] < 0), place_U[:-1] >= 0):
        open_ = found_U[a] < 0
        a, b = a[open_], b[open_]
        likely = sketches.promising(a, b)
        for i, j in zip(a[likely].tolist(), b[likely].tolist(), strict=True):
            if found_U[i] < 0 and sketches.are_near(i, j):
                found_U[i] = place_U[j]
    return found_U[own_N]


def near_duplicate_groups(texts: Sequence[str], threshold: float = THRESHOLD) -> NDArray[np.int64]:
    """Return for every text the place of the first text of its group.

    Groups are the connected components of the near-duplicates: two texts of a group need not be
    near-duplicates of each other. A text that has none is its own group, and so is one without
    words.

    Args:
        texts: what is grouped.
        threshold: the Jaccard similarity from which two texts are near-duplicates, 0.7 to 1.

    Raises:
        ConfigError: rensa is not installed.
        ValueError: the threshold is out of range.
    """
    _check(threshold)
    sketches = Sketches.of(texts, threshold)
    return near_groups(sketches, agreeing(sketches.bands_UB))


def near_groups(sketches: Sketches, members: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return for every text the place of the first of its group; see `near_duplicate_groups`.

    Args:
        sketches: of the texts.
        members: of every band, what `agreeing` gave for it.
    """
    groups = _Groups(len(sketches))
    for a, b in _pairs_within(sketches, members):
        apart = groups.of(a) != groups.of(b)
        a, b = a[apart], b[apart]
        likely = sketches.promising(a, b)
        for i, j in zip(a[likely].tolist(), b[likely].tolist(), strict=True):
            if groups.root(i) != groups.root(j) and sketches.are_near(i, j):
                groups.join(i, j)
    count = len(sketches.distinct_N)
    places_N = np.arange(count, dtype=np.int64)
    spoken = sketches.distinct_N >= 0
    group_N = groups.of(sketches.distinct_N[spoken])
    first_U = np.full(len(sketches), count, dtype=np.int64)
    np.minimum.at(first_U, group_N, places_N[spoken])
    places_N[spoken] = first_U[group_N]
    return places_N


def agreeing(bands_UB: NDArray[np.uint64]) -> list[NDArray[np.int64]]:
    """Return of every band the texts that agree in it with another: those alone are compared."""
    return [np.flatnonzero(_shared(bands_UB[:, band])) for band in range(BANDS)]


def _check(threshold: float) -> None:
    if not LOWEST <= threshold <= 1:
        raise ValueError(f"threshold {threshold}: expected {LOWEST} to 1")


def _sorted_band(
    sketches: Sketches, band: int, members: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Return texts by what they hold in a band, those that agree in the next two side by side."""
    columns = [sketches.bands_UB[members, (band + step) % BANDS] for step in (2, 1, 0)]
    order = np.lexsort(columns)  # stable: what agrees in all keeps the order of the texts
    return members[order], columns[-1][order]


def _shared(keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Tell which keys stand more than once."""
    order = np.argsort(keys)
    same = keys[order][1:] == keys[order][:-1]
    found = np.zeros(len(keys), dtype=bool)
    found[order[1:][same]] = True
    found[order[:-1][same]] = True
    return found


def _pairs_within(sketches: Sketches, members: Sequence[NDArray[np.int64]]) -> Iterator[Pairs]:
    """Yield pairs of distinct texts that agree in a band, next neighbours first."""
    for band, own in enumerate(members):
        texts, keys = _sorted_band(sketches, band, own)
        at = np.arange(len(texts))
        for step in range(1, WINDOW + 1):
            at = at[at + step < len(texts)]
            at = at[keys[at] == keys[at + step]]
            if not len(at):
                break
            yield texts[at], texts[at + step]


def _pairs_with(
    sketches: Sketches, is_own_U: NDArray[np.bool_], is_sought_U: NDArray[np.bool_]
) -> Iterator[Pairs]:
    """Yield pairs of an own text and a sought one that agree in a band, next neighbours first."""
    taking_part = np.flatnonzero(is_own_U | is_sought_U)
    for band in range(BANDS):
        members = taking_part[_shared(sketches.bands_UB[taking_part, band])]
        texts, keys = _sorted_band(sketches, band, members)
        sought = np.flatnonzero(is_sought_U[texts])
        own = np.flatnonzero(is_own_U[texts])
        if not len(sought):
            continue
        after = np.searchsorted(sought, own)  # the sought text that comes next
        for step, to_next in ((1, after), (-1, after - 1)):
            near, at = own, to_next
            for _ in range(WINDOW // 2):
                inside = (at >= 0) & (at < len(sought))
                near, at = near[inside], at[inside]
                same = keys[near] == keys[sought[at]]
                near, at = near[same], at[same]
                if not len(near):
                    break
                yield texts[near], texts[sought[at]]
                at = at + step


class _Groups:
    """Disjoint sets of numbers below n (union-find)."""

    def __init__(self, n: int) -> None:
        self._parent = np.arange(n, dtype=np.int64)

    def root(self, i: int) -> int:
        parent = self._parent
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = int(parent[i])
        return i

    def of(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the root of every number."""
        roots = self._parent[numbers]
        while (above := self._parent[roots]).size and (above != roots).any():
            roots = above
        self._parent[numbers] = roots
        return roots

    def join(self, i: int, j: int) -> None:
        a, b = self.root(i), self.root(j)
        self._parent[max(a, b)] = min(a, b)
