"""Cells: rows that are found by a 16-byte key and committed in small pieces while they are made.

An answer or a score is a cell. Its folder ROOT/<stage>/<key>/ holds segments: parquet files that
are named by their own sha256 and never changed. A killed run loses the rows since its last flush
and nothing else. Small segments are merged into larger ones; the merged one is written before the
small ones go, so at every moment each row stands somewhere. Where a key stands twice (two
processes asked at once, or a merge was killed half-way), the row with the smaller hash counts, for
every reader alike.

Memory is the index (20 bytes a row), and a few segments. The keys of large segments are saved
beside them (`saved_index`), so that what is missing is known before a text is read.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from hashlib import sha256
from threading import RLock
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.errors import StorageError
from crowdselect_core.store import safe_parquet
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.cache.key_index import (
    KEY,
    Index,
    Keys,
    Numbers,
    as_bytes,
    column_keys,
)
from crowdselect_core.store.cache.saved_index import SavedIndex, Void
from crowdselect_core.store.cache.segment_files import SegmentFiles
from crowdselect_core.store.cache.work_sharing import WorkSharing
from crowdselect_core.store.identity import Spec

log = logging.getLogger("crowdselect.store")

LARGE = 16 << 20  # weight of a segment that is merged no further
MERGED = 16  # segments of about one size are merged when there are this many
LOOKS = 100  # tries at a folder that another process is merging
PAUSE = 0.05  # seconds between them, for a server whose listing lags behind
KEPT = 2  # decoded segments that are kept for the next read


class CallCache:
    """The cells of one identity in a store.

    Args:
        store: where they are.
        spec: what changes a cell's content; its key is the folder.
        schema: the columns of a row beside its key.
        void: which rows do not count.
    """

    def __init__(
        self,
        store: Store,
        spec: Spec,
        schema: Mapping[str, type[pl.DataType] | pl.DataType],
        void: Void | None = None,
    ) -> None:
        self._place, self.spec = store.place, spec
        self.schema = {KEY: pl.Binary, **schema}
        self._void = void
        self._lock = RLock()
        self._index = Index()
        self._segments = SegmentFiles(store.place, spec, self.schema)
        self._saved = SavedIndex(self._place, spec.folder, void)
        self._frames: dict[str, pl.DataFrame] = {}

    def refresh(self) -> None:
        """Take in what others have committed since the last look."""
        with self._lock:
            for _ in range(LOOKS):
                there = self._listed()
                try:
                    new = there.keys() - self._index.weights.keys() - self._segments.strays
                    wanted = {name: there[name] for name in new}
                    self._saved.load(self._index, wanted, self._segments.index_files)
                    for name in sorted(new - self._index.weights.keys()):
                        columns = [KEY] if self._void is None else [KEY, self._void.column]
                        frame = self._read(name, columns)
                        if frame is not None:
                            self._enter(name, there[name], frame)
                except FileNotFoundError:
                    time.sleep(PAUSE)  # merged by somebody else between the listing and the read
                    continue
                return
        raise FileNotFoundError(
            f"{self._place.root}/{self.spec.folder}: segments keep disappearing"
        )

    @property
    def is_empty(self) -> bool:
        """Whether nothing is stored."""
        return not self._listed()

    def missing(self, keys: Keys) -> NDArray[np.bool_]:
        """Tell which keys have no cell, as far as the last `refresh` and own commits know."""
        with self._lock:
            return self._index.missing(keys)

    def missing_halves(self, first: Numbers, last: Numbers) -> NDArray[np.bool_]:
        """Tell which keys have no cell, of many keys that are sorted (`key_index.as_sorted`)."""
        with self._lock:
            return self._index.missing_halves(first, last)

    def read(self, keys: Keys) -> pl.DataFrame:
        """Return the rows of those keys that have one, each once, in no order.

        Segments are checked against their sha256; a damaged one is removed and said, and its rows
        are missing from then on.
        """
        with self._lock:
            for _ in range(LOOKS):
                try:
                    return self._found(keys)
                except FileNotFoundError:  # merged by somebody else meanwhile
                    time.sleep(PAUSE)
                    self._index, self._frames = Index(), {}
                    self._saved = SavedIndex(self._place, self.spec.folder, self._void)
                    self.refresh()
        raise FileNotFoundError(
            f"{self._place.root}/{self.spec.folder}: segments keep disappearing"
        )

    def work_sharing(self) -> WorkSharing:
        """Return who makes cells here: enter it to be one of them."""
        return WorkSharing(self._place, self.spec.folder)

    def commit(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Write rows (the key first) as one segment."""
        self.commit_frame(pl.DataFrame(rows, self.schema, orient="row"))

    def commit_frame(self, frame: pl.DataFrame) -> None:
        """Write a table of rows as one segment."""
        with self._lock:
            self._segments.write_identity()
            self._add(frame)

    def open(self) -> None:
        """Get ready for commits; where an identity.json was lost beside cells, it comes back."""
        with self._lock:
            if self._index.weights:
                try:
                    self._segments.write_identity()
                except StorageError as e:  # a commit will raise it, where there is one
                    log.warning("%s: %s", self.spec.folder, e)

    def merge(self, *, all_small: bool = False) -> None:
        """Merge segments of about one size once there are MERGED of them, or all small ones."""
        with self._lock:
            tiers: dict[int, list[str]] = {}
            for name, weight in self._index.weights.items():
                if weight < LARGE:
                    tiers.setdefault(0 if all_small else weight.bit_length() // 4, []).append(name)
            for names in tiers.values():
                if len(names) >= (2 if all_small else MERGED):
                    self._merge(names)
            self.save_index()

    def save_index(self) -> None:
        """Save the keys of large segments, where many are in no file yet."""
        with self._lock:
            weights = self._index.weights
            self._saved.save(self._index, [n for n, weight in weights.items() if weight >= LARGE])

    def _merge(self, names: list[str]) -> None:
        """Write the rows of small segments anew, in segments up to LARGE, then remove them."""
        batch: list[str] = []
        for name in [*names, ""]:
            weight = sum(self._index.weights[n] for n in batch) + self._index.weights.get(name, 0)
            if batch and (not name or weight > LARGE):
                if len(batch) > 1:
                    self._rewrite(batch)
                batch = []
            batch.append(name)

    def _rewrite(self, names: list[str]) -> None:
        """Write the rows of segments as one; none is removed before its rows stand elsewhere."""
        frames: dict[str, pl.DataFrame] = {}
        elsewhere = False
        for name in names:
            try:
                frame = self._read(name)
            except FileNotFoundError:
                self._drop(name)  # merged by somebody else, who has its rows
                elsewhere = True
                continue
            if frame is not None:
                frames[name] = frame
        if elsewhere:
            self.refresh()
        if len(frames) < 2:
            return
        made = self._add(self._merged(pl.concat(list(frames.values()))))
        for name in frames.keys() - {made}:
            self._drop(name)
            self._segments.remove(name)

    def _merged(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return one row of each key that counts, and all rows that do not."""
        if self._void is None:
            return self._once(rows)
        counts = (~self._void.of(rows[self._void.column])).fill_null(value=False)
        return pl.concat([self._once(rows.filter(counts)), rows.filter(~counts)])

    def _add(self, frame: pl.DataFrame) -> str:
        name, size = self._segments.write(frame)
        if name not in self._index.weights:
            self._enter(name, size, frame)
        return name

    def _enter(self, name: str, size: int, frame: pl.DataFrame) -> None:
        """Take a segment's rows that count into the index."""
        counted = frame if self._void is None else self._void.rows_left(frame)
        self._index.enter(name, size, column_keys(counted[KEY]))
        self._saved.note(name, frame)

    def _drop(self, name: str) -> None:
        self._index.drop(name)
        self._frames.pop(name, None)

    def _found(self, keys: Keys) -> pl.DataFrame:
        asked = pl.Series(KEY, as_bytes(keys), dtype=pl.Binary).unique().implode()
        parts = []
        for name in self._index.holders(keys):
            frame = self._frame(name)
            if frame is not None:
                asked_for = frame.filter(pl.col(KEY).is_in(asked))
                parts.append(asked_for if self._void is None else self._void.rows_left(asked_for))
        if not parts:
            return pl.DataFrame(schema=self.schema)
        return self._once(pl.concat(parts))

    def _once(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return one row of each key, the one with the smallest hash."""
        twice = rows[KEY].is_duplicated()
        if not twice.any():
            return rows
        chosen: dict[bytes, tuple[bytes, tuple[Any, ...]]] = {}
        for row in rows.filter(twice).iter_rows():
            ranked = sha256(repr(row).encode("utf-8", "backslashreplace")).digest(), row
            chosen[row[0]] = min(chosen.get(row[0], ranked), ranked, key=lambda pair: pair[0])
        single = [row for _, row in chosen.values()]
        return pl.concat([rows.filter(~twice), pl.DataFrame(single, self.schema, orient="row")])

    def _frame(self, name: str) -> pl.DataFrame | None:
        """Return a segment, from memory when it was read lately."""
        frame = self._frames.pop(name, None)
        if frame is None:
            frame = self._read(name)
            if frame is None:
                return None
        self._frames[name] = frame
        while len(self._frames) > KEPT:
            self._frames.pop(next(iter(self._frames)))
        return frame

    def _read(self, name: str, columns: list[str] | None = None) -> pl.DataFrame | None:
        """Read and check a segment; None for one of other cells, and a damaged one is removed."""
        try:
            return self._segments.read(name, columns)
        except safe_parquet.Unreadable as e:
            log.warning("%s/%s %s; only its rows are computed again", self.spec.folder, name, e)
        self._drop(name)
        self._segments.remove(name)
        return None

    def _listed(self) -> dict[str, int]:
        return self._segments.listed(self._index.weights)
