"""Rows of earlier artifacts, found by their instruction_id."""

from collections.abc import Iterable
from threading import Lock

import numpy as np
import polars as pl

from crowdselect_core.store.artifacts import Artifact

KEPT = 4  # decoded shards that are kept for the next look


class RowLookup:
    """Finds rows in shards by instruction_id, whatever the order of the rows.

    Memory: 12 bytes a row, and a few shards. Rows that are asked for in about the order they are
    stored in are read once.

    Args:
        artifacts: with the column instruction_id; where an id stands twice, the first one counts.
    """

    def __init__(self, artifacts: Iterable[Artifact]) -> None:
        self._shards = [(a, i) for a in artifacts for i in range(len(a.manifest.shards))]
        self._frames: dict[int, pl.DataFrame] = {}
        self._lock = Lock()
        hashes, numbers = [np.empty(0, dtype=np.uint64)], [np.empty(0, dtype=np.int32)]
        for number, (artifact, index) in enumerate(self._shards):
            ids = artifact.shard(index, ["instruction_id"])["instruction_id"]
            hashes.append(ids.hash(seed=0).to_numpy())
            numbers.append(np.full(len(ids), number, dtype=np.int32))
        joined = np.concatenate(hashes)
        order = np.argsort(joined, kind="stable")
        self._hashes, self._numbers = joined[order], np.concatenate(numbers)[order]

    def of(self, ids: pl.Series) -> pl.DataFrame | None:
        """Return the rows with these ids, each once, in no order; None where no shard has any."""
        wanted = ids.hash(seed=0).to_numpy()
        first = np.searchsorted(self._hashes, wanted, side="left")
        last = np.searchsorted(self._hashes, wanted, side="right")
        numbers: set[int] = set()
        while (more := first < last).any():
            numbers.update(np.unique(self._numbers[first[more]]).tolist())
            first = first + 1
        asked = pl.DataFrame({"instruction_id": ids})
        found = [
            self._frame(number).join(asked, on="instruction_id", how="semi")
            for number in sorted(numbers)
        ]
        found = [frame for frame in found if frame.height]
        if not found:
            return None
        return pl.concat(found).unique("instruction_id", keep="first", maintain_order=True)

    def _frame(self, number: int) -> pl.DataFrame:
        with self._lock:
            frame = self._frames.pop(number, None)
            if frame is None:
                artifact, index = self._shards[number]
                frame = artifact.shard(index)
            self._frames[number] = frame
            while len(self._frames) > KEPT:
                self._frames.pop(next(iter(self._frames)))
            return frame
