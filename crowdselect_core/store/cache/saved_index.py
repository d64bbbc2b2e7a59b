"""The keys of large segments in a file of their own, so that a run finds them without the texts.

A cache of ten million answers is gigabytes of text, which a resumed run has no need to read before
it knows what is missing. `index-<its sha256>.keys` beside the segments names some of them with size
and time of change, and holds their keys, sorted: 20 bytes a row. It is no more than a shortcut. A
segment that is not in it, or has another size or time by now, is read and checked as a whole; the
texts of every segment are checked when they are read.

Layout: one line of JSON, filled with blanks to a multiple of 8 bytes; the first halves of the keys
and the last (8 bytes each, little-endian), the numbers of their segments (4 bytes).
"""

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from typing import Any

import numpy as np
import polars as pl

from crowdselect_core.errors import StorageError
from crowdselect_core.store.backend.base import StorageBackend
from crowdselect_core.store.cache.key_index import Index, Level
from crowdselect_core.store.names import INDEX

log = logging.getLogger("crowdselect.store")

LEAST_ROWS = 200_000  # of large segments that are in no file yet, for which one is written
MOST_WORDS = 64  # different values of the column that voids rows, of a segment that is indexed
ROW = 20  # bytes

Words = tuple[tuple[str | None, ...], tuple[str | None, ...]]


@dataclass(frozen=True, slots=True)
class Void:
    """Rows that count as missing although they are stored, so that their calls are made again."""

    column: str  # what tells
    of: Callable[[pl.Series], pl.Series]  # from that column to a boolean one

    def rows_left(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the rows that count."""
        return frame.filter(~self.of(frame[self.column]))


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment as it was when its keys were saved."""

    name: str
    size: int
    modified: float
    rows: int
    counted: tuple[str | None, ...]  # values of the voiding column in the rows that count
    voided: tuple[str | None, ...]  # and in those that do not


class SavedIndex:
    """The index files of one folder of cells.

    Args:
        place: of the store.
        folder: of the cells.
        void: which rows do not count: a file that was written by another rule is not used.
    """

    def __init__(self, place: StorageBackend, folder: str, void: Void | None) -> None:
        self._place, self._folder, self._void = place, folder, void
        self._files: dict[str, tuple[str, ...]] = {}  # read or written: the segments in them
        self._rows: dict[str, int] = {}  # of segments
        self._words: dict[str, Words] = {}  # of segments whose rows were seen

    def note(self, name: str, frame: pl.DataFrame) -> None:
        """Take note of a segment that was read and checked, or made."""
        self._rows[name] = frame.height
        if self._void is None:
            self._words[name] = (), ()
            return
        values = frame[self._void.column].unique()
        if len(values) > MOST_WORDS:
            return
        gone = self._void.of(values)
        self._words[name] = tuple(values.filter(~gone)), tuple(values.filter(gone))

    def load(self, index: Index, wanted: Mapping[str, int], files: Mapping[str, int]) -> None:
        """Enter the segments that files tell of, where they are as they were.

        Args:
            index: what they are entered into.
            wanted: segments that are there and not in it, with their sizes.
            files: the index files that are there, with their sizes.

        Raises:
            FileNotFoundError: a file has just been replaced by another.
        """
        new = sorted((name for name in files if name not in self._files), key=lambda n: -files[n])
        if not new or not wanted:
            return
        now = {f.name.rpartition("/")[2]: f for f in self._place.walk(self._folder)}
        fits = cache(self._fits)  # nearly all segments have the same few words
        for name in new:
            data = self._place.read(f"{self._folder}/{name}")
            found = self._decoded(name, data)
            if found is None:
                continue
            segments, level = found
            self._files[name] = tuple(segment.name for segment in segments)
            good = {
                number: segment
                for number, segment in enumerate(segments)
                if wanted.get(segment.name) == segment.size
                and segment.name not in index.weights
                and (seen := now.get(segment.name)) is not None
                and seen.modified == segment.modified
                and fits(segment.counted, segment.voided)
            }
            if good:
                self._enter(index, level, good, len(segments))

    def _enter(
        self, index: Index, level: Level, good: Mapping[int, Segment], segments: int
    ) -> None:
        if len(good) < segments:
            level = level.of(good)
        numbers = np.zeros(segments, dtype=np.int32)
        for number, segment in good.items():
            numbers[number] = index.name(segment.name, segment.size, segment.rows)
            self._rows[segment.name] = segment.rows
            self._words[segment.name] = segment.counted, segment.voided
        index.add(Level(level.first, level.last, numbers[level.segments]))

    def _fits(self, counted: tuple[str | None, ...], voided: tuple[str | None, ...]) -> bool:
        """Tell whether the rows of a segment that counted then are those that count now."""
        if self._void is None:
            return not counted and not voided
        still_gone = self._void.of(pl.Series(voided, dtype=pl.String)).all()
        return bool(still_gone) and not self._void.of(pl.Series(counted, dtype=pl.String)).any()

    def save(self, index: Index, large: Iterable[str]) -> None:
        """Write a file of the large segments that are in none, once they have enough rows.

        Files that are not much larger go into it, so that there are a few of them at any time.
        """
        saved = {name for names in self._files.values() for name in names}
        chosen = [name for name in large if name in self._words and name not in saved]
        rows = sum(self._rows[name] for name in chosen)
        if rows < LEAST_ROWS:
            return
        held = {file: [n for n in names if n in index.weights and n in self._words]
                for file, names in self._files.items()}  # fmt: skip
        gone = []
        for file, names in sorted(held.items(), key=lambda item: self._rows_of(item[1])):
            if self._rows_of(names) < 2 * rows:
                chosen += names
                rows += self._rows_of(names)
                gone.append(file)
        try:
            name = self._write(index, sorted(set(chosen)))
            for file in gone:
                if file != name:
                    self._files.pop(file)
                    self._place.remove(f"{self._folder}/{file}")
        except StorageError as e:  # no answer depends on it, and whoever commits cells is told
            log.debug("%s: the keys were not saved: %s", self._folder, e)

    def _rows_of(self, names: Iterable[str]) -> int:
        return sum(self._rows[name] for name in names)

    def _write(self, index: Index, names: list[str]) -> str:
        now = {f.name.rpartition("/")[2]: f for f in self._place.walk(self._folder)}
        names = [name for name in names if name in now]
        level, numbers = index.keys_of(names)
        places = np.zeros(max(numbers, default=0) + 1, dtype=np.int32)
        for number, name in numbers.items():
            places[number] = names.index(name)
        segments = [
            [name, now[name].size, now[name].modified, self._rows[name], *self._words[name]]
            for name in names
        ]
        head = json.dumps({"of": self._folder, "rows": len(level), "segments": segments}).encode()
        head += b" " * (-(len(head) + 1) % 8) + b"\n"
        data = b"".join(
            (
                head,
                level.first.astype("<u8").tobytes(),
                level.last.astype("<u8").tobytes(),
                places[level.segments].astype("<i4").tobytes(),
            )
        )
        file = f"index-{sha256(data).hexdigest()}.keys"
        self._place.create_exclusive(f"{self._folder}/{file}", data)
        self._files[file] = tuple(names)
        return file

    def _decoded(self, name: str, data: bytes) -> tuple[list[Segment], Level] | None:
        """Read a file; None for one that is damaged, which is removed, or of other cells."""
        match = INDEX.fullmatch(name)
        try:
            if match is None or sha256(data).hexdigest() != match["sha256"]:
                raise ValueError("sha256 differs")
            of, segments, level = decode(data)
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as e:
            log.warning(
                "%s/%s is damaged (%s); the segments are read instead", self._folder, name,
                type(e).__name__,
            )  # fmt: skip
            self._place.remove(f"{self._folder}/{name}")
            return None
        if of != self._folder:
            log.warning("%s/%s belongs to other cells; it is left aside", self._folder, name)
            self._files[name] = ()
            return None
        return segments, level


def decode(data: bytes) -> tuple[str, list[Segment], Level]:
    """Return whose cells a file is about, the segments and their keys.

    Raises:
        ValueError, TypeError, KeyError: it is no such file.
    """
    head, _, _ = data[: data.find(b"\n", 0, 1 << 26) + 1].partition(b"\n")
    told: dict[str, Any] = json.loads(head)
    segments = [
        Segment(str(name), int(size), float(modified), int(rows), tuple(counted), tuple(voided))
        for name, size, modified, rows, counted, voided in told["segments"]
    ]
    rows, start = int(told["rows"]), len(head) + 1
    if rows < 0 or len(data) != start + rows * ROW:
        raise ValueError("another length than it says")
    first = np.frombuffer(data, "<u8", rows, start).astype(np.uint64, copy=False)
    last = np.frombuffer(data, "<u8", rows, start + 8 * rows).astype(np.uint64, copy=False)
    numbers = np.frombuffer(data, "<i4", rows, start + 16 * rows).astype(np.int32, copy=False)
    if rows and (numbers.min() < 0 or numbers.max() >= len(segments)):
        raise ValueError("keys of no segment")
    if (first[1:] < first[:-1]).any():
        raise ValueError("keys that are not sorted")
    return str(told["of"]), segments, Level(first, last, numbers)
