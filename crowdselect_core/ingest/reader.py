"""What every container offers: a schema, partitions, and batches of the columns asked for.

A reader never reads a column that was not asked for (where the container allows it), and never
holds more than a row group of a parquet file or some thousand lines of JSON at once.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import pyarrow as pa


class Leaf(NamedTuple):
    """One column, or one field of a struct column."""

    column: str
    field: str | None = None

    def __str__(self) -> str:
        return self.column if self.field is None else f"{self.column}.{self.field}"


@dataclass(frozen=True)
class Partition:
    """A run of consecutive rows of one file that can be read by itself.

    `first_row` counts over all files of the data set, `where` is the reader's own (row groups,
    byte offsets, record batches).
    """

    file: int
    first_row: int
    rows: int
    where: tuple[int, int]


@dataclass(frozen=True)
class Batch:
    """Consecutive rows: one Arrow array per leaf, all of the same length."""

    first_row: int
    rows: int
    arrays: Mapping[Leaf, pa.Array]


class Reader(Protocol):
    """One data set in one container."""

    def fingerprint(self) -> str:
        """Return a hash of the content: the same bytes elsewhere have the same one."""
        ...

    def digests(self) -> list[str]:
        """Return the hash of each file's content, by the files' numbers."""
        ...

    def schema(self) -> pa.Schema:
        """Return the columns; struct columns have their fields.

        Raises:
            DatasetError: a file is empty, truncated or of another format.
        """
        ...

    def partitions(self, rows: int) -> list[Partition]:
        """Cut the data set into partitions of about `rows` rows, in order."""
        ...

    def read(self, partition: Partition, leaves: Sequence[Leaf]) -> Iterator[Batch]:
        """Yield the partition's rows, these leaves only."""
        ...

    def source(self, file: int) -> str:
        """Return the name of a file of the data set, to show."""
        ...

    def place(self, row: int) -> str:
        """Return the file and the line of a row (from 0 over all files), as an error names it."""
        ...


def limited(partitions: Sequence[Partition], limit: int | None) -> list[Partition]:
    """Return the partitions that hold the first `limit` rows, the last one cut to fit."""
    if limit is None:
        return list(partitions)
    return [
        replace(p, rows=min(p.rows, limit - p.first_row)) for p in partitions if p.first_row < limit
    ]


def row_of_file(row: int, files: Sequence[tuple[str, int]]) -> str:
    """Return the file of a row and its number there, from 1, for readers whose rows are no lines.

    Args:
        row: from 0 over all files.
        files: the name and the rows of each.
    """
    for name, rows in files:
        if row < rows:
            return f"{name}, row {row + 1}"
        row -= rows
    return f"{files[-1][0]}, row {row + 1}"
