"""Groups of duplicates: rows that are joined by pairs, kind after kind, the strictest kind first.

A group is a connected component: two rows of it need not be duplicates of each other. Every kind
joins the groups of the stricter ones, so the groups of a kind hold those of the kinds before it.
"""

from collections.abc import Iterable, Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from crowdselect_core.quality.shingles import words, words_key

Rows = NDArray[np.int64]


def exact_key(text: str) -> bytes:
    """Return 16 bytes that name a text; b'' for one of white space alone."""
    if not text.strip():
        return b""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def normalised_key(text: str) -> bytes:
    """Return 16 bytes that name the words of a text, see `quality.shingles`; b'' without any."""
    return words_key(words(text))


def same_key_pairs(keys: Sequence[bytes]) -> tuple[Rows, Rows]:
    """Return a pair of each row and the first row of the same key; b'' is the same as no other."""
    first: dict[bytes, int] = {}
    places = [first.setdefault(key, row) if key else row for row, key in enumerate(keys)]
    group_N = np.array(places, dtype=np.int64)
    rows = np.flatnonzero(group_N != np.arange(len(group_N)))
    return rows, group_N[rows]


def joined(groups_N: Rows, pairs: Iterable[tuple[Rows, Rows]]) -> Rows:
    """Return the groups that pairs of rows join those before to.

    Args:
        groups_N: for every row the first row of its group.
        pairs: rows that belong together.

    Returns:
        For every row the first row of its new group.
    """
    n = len(groups_N)
    found = [(np.arange(n), groups_N), *pairs]
    a, b = (np.concatenate([pair[i] for pair in found]) for i in (0, 1))
    edges = coo_array((np.ones(len(a), dtype=np.int8), (a, b)), shape=(n, n))
    _, labels_N = connected_components(edges, directed=False)
    first_of = np.full(int(labels_N.max(initial=-1)) + 1, n, dtype=np.int64)
    np.minimum.at(first_of, labels_N, np.arange(n))
    joined_N: Rows = first_of[labels_N]
    return joined_N
