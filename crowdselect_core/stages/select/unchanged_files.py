"""The rows of files that an earlier look at the data set found, for files that are as they were."""

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

from crowdselect_core.ingest.dataset import Dataset
from crowdselect_core.ingest.reader import Partition
from crowdselect_core.stages.row_columns import RowReader, whole_numbers
from crowdselect_core.store.artifacts import Artifact
from crowdselect_core.store.identity import Spec
from crowdselect_core.util.once import Once


class UnchangedFiles:
    """Carries the instructions of unchanged files over, and has the others read.

    A file is unchanged when its content is; its name, its place and the files around it may be
    others. The rows that come out are those that a whole reading gives.

    Args:
        dataset: as it is now.
        partitions: of the data set as it is now.
        earlier: an artifact of the stage `instructions`.
        wanted: of the artifact that is made; where another layout was read, nothing is carried.
        read: reads the ids of a partition.
    """

    def __init__(
        self,
        dataset: Dataset,
        partitions: Sequence[Partition],
        earlier: Artifact,
        wanted: Spec,
        read: Callable[[Partition], pl.DataFrame],
    ) -> None:
        self._dataset, self._read = dataset, read
        self._first: dict[int, int] = {}  # of every file now, its first row
        for part in partitions:
            self._first.setdefault(part.file, part.first_row)
        same = _layout(earlier.manifest.identity) == _layout(wanted.identity)
        self._then = _matched(dataset, earlier) if same else {}
        self._rows = RowReader(earlier, ["instruction_id", "source_row"])
        self._source_N = Once(lambda: whole_numbers(earlier, "source_row"))

    def ids(self, part: Partition) -> pl.DataFrame:
        """Return the rows of a partition: carried over, or read."""
        if part.file not in self._then:
            return self._read(part)
        shift = self._first[part.file] - self._then[part.file]
        name = self._dataset.table.source(part.file).rsplit("/", 1)[-1]
        first = part.first_row - shift
        start, end = np.searchsorted(self._source_N(), [first, first + part.rows]).tolist()
        return self._rows.span(start, end).select(
            "instruction_id", pl.lit(name).alias("source"), pl.col("source_row") + shift
        )


def _layout(identity: object) -> dict[str, object]:
    """Return what of an identity says how rows are read; a limit cuts files, so nothing is same."""
    told = dict(identity)  # type: ignore[call-overload]
    told.pop("dataset")
    return told if told["limit"] is None else {"limit": object()}


def _matched(dataset: Dataset, earlier: Artifact) -> dict[int, int]:
    """Return, of every file now that was there, the first row that it had then."""
    then: dict[str, list[int]] = {}  # content hash -> the first rows of the files that had it
    first = 0
    for digest, rows in earlier.manifest.facts["files"]:
        then.setdefault(digest, []).append(first)
        first += int(rows)
    matched: dict[int, int] = {}
    for file, digest in enumerate(dataset.table.digests()):
        if then.get(digest):
            matched[file] = then[digest].pop(0)
    if earlier.manifest.counts.get("duplicate_rows"):
        # Of rows that repeat each other the first one was kept: that must still be the first.
        whole = not any(then.values())
        in_order = list(matched.values()) == sorted(matched.values())
        return matched if whole and in_order else {}
    return matched
