"""The keys of cells, and in which segment each of them stands."""

from collections.abc import Iterable
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.bytes_]  # dtype S16

KEY = "key"
WIDTH = 16
LEAST = 512  # bytes that a row weighs at least: some texts compress to next to nothing


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


class Index:
    """The keys of all segments, sorted in a few levels: 20 bytes a row.

    Attributes:
        weights: of segments by name, in bytes; LEAST a row where they are smaller.
    """

    def __init__(self) -> None:
        self.weights: dict[str, int] = {}
        self._names: list[str] = []  # of segments, by number; '' for one that is gone
        self._levels: list[tuple[Keys, NDArray[np.int32]]] = []  # sorted keys, segment numbers

    def missing(self, keys: Keys) -> NDArray[np.bool_]:
        """Tell which keys stand nowhere."""
        absent: NDArray[np.bool_] = np.ones(len(keys), dtype=bool)
        for level, _ in self._levels:
            at = np.searchsorted(level, keys)
            at[at == len(level)] = 0
            absent &= level[at] != keys
        return absent

    def holders(self, keys: Keys) -> list[str]:
        """Return the segments in which any of the keys stands, in the order they were entered."""
        found: set[int] = set()
        for level, numbers in self._levels:
            first = np.searchsorted(level, keys, side="left")
            last = np.searchsorted(level, keys, side="right")
            while (more := first < last).any():
                found.update(np.unique(numbers[first[more]]).tolist())
                first = first + 1
        return [self._names[number] for number in sorted(found)]

    def enter(self, name: str, size: int, keys: Keys) -> None:
        """Take a segment in; levels of about one length are joined."""
        self.weights[name] = max(size, len(keys) * LEAST)
        self._names.append(name)
        if not len(keys):
            return
        order = np.argsort(keys, kind="stable")
        level = keys[order], np.full(len(keys), len(self._names) - 1, dtype=np.int32)
        while self._levels and len(self._levels[-1][0]) < 2 * len(level[0]):
            other = self._levels.pop()
            both = np.concatenate([other[0], level[0]])
            order = np.argsort(both, kind="stable")
            level = both[order], np.concatenate([other[1], level[1]])[order]
        self._levels.append(level)

    def drop(self, name: str) -> None:
        """Take a segment out, if it is in."""
        if name not in self.weights:
            return
        number = self._names.index(name)
        self._names[number] = ""
        del self.weights[name]
        levels = []
        for keys, numbers in self._levels:
            kept = numbers != number
            levels.append((keys, numbers) if kept.all() else (keys[kept], numbers[kept]))
        self._levels = [level for level in levels if len(level[0])]
