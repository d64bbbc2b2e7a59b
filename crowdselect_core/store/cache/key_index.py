"""The keys of cells, and in which segment each of them stands.

A key is 16 bytes of a sha256. As two whole numbers it is sorted and found several times faster than
as bytes; keys that are sorted already are found in one pass.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import polars as pl
from numpy.typing import NDArray

Keys = NDArray[np.bytes_]  # dtype S16
Numbers = NDArray[np.uint64]

KEY = "key"
WIDTH = 16
LEAST = 512  # bytes that a row weighs at least: some texts compress to next to nothing
NEAR = 1 << 15  # sorted keys that are compared at once: they stay in the processor's cache


def cell_key(*parts: bytes) -> bytes:
    """Return the 16 bytes that name a cell: of the sha256 of its parts, each with its length."""
    hashed = sha256()
    for part in parts:
        hashed.update(len(part).to_bytes(8, "big") + part)
    return hashed.digest()[:WIDTH]


def as_keys(keys: Iterable[bytes]) -> Keys:
    """Return keys as one array (numpy's S16: compared as bytes, trailing NULs included)."""
    return np.frombuffer(b"".join(keys), dtype=f"S{WIDTH}")


def as_bytes(keys: Keys) -> list[bytes]:
    """Return the keys of an array; numpy itself would drop trailing NULs."""
    data = keys.tobytes()
    return [data[at : at + WIDTH] for at in range(0, len(data), WIDTH)]


def column_keys(column: pl.Series) -> Keys:
    """Return the keys of a column of them, nulls left out.

    Raises:
        ValueError: a value has another length.
    """
    data = b"".join(column.drop_nulls().to_list())
    if len(data) != WIDTH * (len(column) - column.null_count()):
        raise ValueError(f"a key has not {WIDTH} bytes")
    return np.frombuffer(data, dtype=f"S{WIDTH}")


def halves(keys: Keys) -> tuple[Numbers, Numbers]:
    """Return the first and last eight bytes of keys, as numbers that sort as the bytes do."""
    both = np.frombuffer(keys.tobytes(), dtype=">u8").reshape(-1, 2)
    return both[:, 0].astype(np.uint64), both[:, 1].astype(np.uint64)


def as_sorted(keys: Keys) -> tuple[Numbers, Numbers, NDArray[np.int64]]:
    """Return the halves of keys in their order, and the places that they come from."""
    first, last = halves(keys)
    order = np.argsort(first)  # several times faster than a stable sort, which repeats need
    ordered = first[order]
    if (ordered[1:] == ordered[:-1]).any():  # that two keys share half is next to impossible
        order = np.lexsort((last, first))
        ordered = first[order]
    return ordered, last[order], order


@dataclass(frozen=True, slots=True)
class Level:
    """Keys in the order of their first half, and the numbers of their segments: 20 bytes a row."""

    first: Numbers
    last: Numbers
    segments: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.first)

    def matches(
        self, first: Numbers, last: Numbers
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Yield (places among the keys asked for, places in this level) until all are met."""
        if not len(self):
            return
        at = np.searchsorted(self.first, first)
        asked = np.flatnonzero(self.first[np.minimum(at, len(self) - 1)] == first)
        at = at[asked]
        while len(asked):
            same = self.last[at] == last[asked]
            yield asked[same], at[same]
            at = at + 1
            more = at < len(self)
            asked, at = asked[more], at[more]
            more = self.first[at] == first[asked]
            asked, at = asked[more], at[more]

    def lacks(self, first: Numbers, last: Numbers) -> NDArray[np.bool_]:
        """Tell which keys do not stand here."""
        absent: NDArray[np.bool_] = np.ones(len(first), dtype=bool)
        for asked, _ in self.matches(first, last):
            absent[asked] = False
        return absent

    def is_exactly(self, first: Numbers, last: Numbers) -> bool:
        """Tell whether these keys stand here, each once, and no others."""
        return np.array_equal(self.first, first) and np.array_equal(self.last, last)

    def between(self, low: np.uint64, high: np.uint64) -> "Level":
        """Return the keys whose first half is from `low` to `high`, without a copy."""
        start = np.searchsorted(self.first, low, side="left")
        end = np.searchsorted(self.first, high, side="right")
        return Level(self.first[start:end], self.last[start:end], self.segments[start:end])

    def of(self, numbers: Iterable[int]) -> "Level":
        """Return the keys of some segments."""
        chosen = np.isin(self.segments, np.fromiter(numbers, dtype=np.int32))
        return Level(self.first[chosen], self.last[chosen], self.segments[chosen])

    def without(self, number: int) -> "Level":
        """Return the keys of the other segments."""
        kept = self.segments != number
        if kept.all():
            return self
        return Level(self.first[kept], self.last[kept], self.segments[kept])


def joined(levels: Iterable[Level]) -> Level:
    """Return levels as one."""
    parts = list(levels)
    first = np.concatenate([np.empty(0, np.uint64), *(part.first for part in parts)])
    last = np.concatenate([np.empty(0, np.uint64), *(part.last for part in parts)])
    segments = np.concatenate([np.empty(0, np.int32), *(part.segments for part in parts)])
    order = np.argsort(first, kind="stable")  # of sorted parts: in one pass
    return Level(first[order], last[order], segments[order])


class Index:
    """The keys of all segments, in a few levels: 20 bytes a row.

    Attributes:
        weights: of segments by name, in bytes; LEAST a row where they are smaller.
    """

    def __init__(self) -> None:
        self.weights: dict[str, int] = {}
        self._names: list[str] = []  # of segments, by number; '' for one that is gone
        self._numbers: dict[str, int] = {}
        self._levels: list[Level] = []

    def missing(self, keys: Keys) -> NDArray[np.bool_]:
        """Tell which keys stand nowhere."""
        return _lacking(self._levels, *halves(keys))

    def missing_halves(self, first: Numbers, last: Numbers) -> NDArray[np.bool_]:
        """Tell which keys stand nowhere, of keys that are sorted (`as_sorted`).

        Where all of them are there and few others are, which is how a finished run finds them, the
        levels are compared with them; no key is searched for.
        """
        absent: NDArray[np.bool_] = np.zeros(len(first), dtype=bool)
        for start in range(0, len(first), NEAR):
            part = slice(start, start + NEAR)
            asked = first[part], last[part]
            near = [level.between(asked[0][0], asked[0][-1]) for level in self._levels]
            if sum(len(level) for level in near) <= 2 * NEAR:
                near = [joined(near)]
                if near[0].is_exactly(*asked):
                    continue
            absent[part] = _lacking(near, *asked)
        return absent

    def holders(self, keys: Keys) -> list[str]:
        """Return the segments in which any of the keys stands, in the order they were entered."""
        first, last = halves(keys)
        found: set[int] = set()
        for level in self._levels:
            for _, at in level.matches(first, last):
                found.update(np.unique(level.segments[at]).tolist())
        return [self._names[number] for number in sorted(found)]

    def enter(self, name: str, size: int, keys: Keys) -> None:
        """Take a segment in; levels of about one length are joined."""
        number = self.name(name, size, len(keys))
        first, last, _ = as_sorted(keys)
        self.add(Level(first, last, np.full(len(keys), number, dtype=np.int32)))

    def name(self, name: str, size: int, rows: int) -> int:
        """Give a segment its number; its keys follow."""
        self.weights[name] = max(size, rows * LEAST)
        self._numbers[name] = len(self._names)
        self._names.append(name)
        return self._numbers[name]

    def add(self, level: Level) -> None:
        """Take in the keys of segments that have their numbers."""
        if not len(level):
            return
        while self._levels and len(self._levels[-1]) < 2 * len(level):
            level = joined([self._levels.pop(), level])
        self._levels.append(level)

    def keys_of(self, names: Iterable[str]) -> tuple[Level, dict[int, str]]:
        """Return the keys of some segments as one level, and the segments by their numbers."""
        numbers = {self._numbers[name]: name for name in names}
        return joined(level.of(numbers) for level in self._levels), numbers

    def drop(self, name: str) -> None:
        """Take a segment out, if it is in."""
        if name not in self.weights:
            return
        number = self._numbers.pop(name)
        self._names[number] = ""
        del self.weights[name]
        levels = [level.without(number) for level in self._levels]
        self._levels = [level for level in levels if len(level)]


def _lacking(levels: Iterable[Level], first: Numbers, last: Numbers) -> NDArray[np.bool_]:
    """Tell which keys stand in none of the levels."""
    left = np.arange(len(first))
    for level in levels:
        if not len(left):
            break
        left = left[level.lacks(first[left], last[left])]
    absent: NDArray[np.bool_] = np.zeros(len(first), dtype=bool)
    absent[left] = True
    return absent
