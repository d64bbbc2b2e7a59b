"""The instruction ids that are most like one that is not there, for a message."""

from collections.abc import Iterable, Iterator
from difflib import SequenceMatcher
from itertools import islice

import polars as pl

MOST = 3  # that are named
COMPARED = 500  # ids of a part that are compared letter by letter: the rest would take too long
LIKE = 0.6  # of 1, least similarity of an id that is named
LONGEST = 100  # characters of an id that are looked at


def nearest_ids(wanted: str, ids: Iterable[pl.Series]) -> list[str]:
    """Return the ids that are most like one, the nearest first; none where none is close.

    Of many ids only those are compared that share a beginning or an end with it, the longest first.

    Args:
        wanted: what was asked for.
        ids: all ids, a part at a time.
    """
    key = wanted.lower()[:LONGEST]
    matcher = SequenceMatcher(b=key)
    best: list[tuple[float, str]] = []
    for part in ids:
        for name in islice(_likely(key, part), COMPARED):
            own = name.lower()[:LONGEST]
            matcher.set_seq1(own)
            if matcher.real_quick_ratio() >= LIKE and (ratio := matcher.ratio()) >= LIKE:
                best.append((ratio + _shared(key, own) / 1000, name))
        best = sorted(best, key=lambda pair: (-pair[0], pair[1]))[:MOST]
    return [name for _, name in best]


def _likely(key: str, part: pl.Series) -> Iterator[str]:
    """Yield the ids of a part that contain it or share a beginning or end, the longest first."""
    seen = pl.Series([False]).new_from_index(0, part.len())
    for condition in _conditions(key, part.str.to_lowercase()):
        yield from part.filter(condition & ~seen)
        seen = seen | condition


def _conditions(key: str, ids: pl.Series) -> Iterator[pl.Series]:
    yield ids.str.contains(key, literal=True)
    for length in range(len(key) - 1, max(len(key) // 2, 1) - 1, -1):
        yield ids.str.starts_with(key[:length]) | ids.str.ends_with(key[-length:])


def _shared(one: str, other: str) -> int:
    """Count the characters at both ends that two ids share; they decide between equals."""
    ends = (zip(one, other, strict=False), zip(reversed(one), reversed(other), strict=False))
    return sum(next((i for i, (a, b) in enumerate(pairs) if a != b), len(one)) for pairs in ends)
