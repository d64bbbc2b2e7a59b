"""Whole rows of a data set: their hashes tell repeats from contradictions."""

from collections.abc import Iterator, Sequence
from hashlib import sha256

import pyarrow as pa

from crowdselect_core.ingest.reader import Batch, Leaf, Partition, Reader
from crowdselect_core.store.identity import canonical


def row_hashes(
    table: Reader, partitions: Sequence[Partition], rows: Sequence[int]
) -> dict[int, str]:
    """Return a hash of everything in some rows."""
    return {
        row: sha256(canonical([repr(v) for v in values])).hexdigest()
        for row, values in _values(table, partitions, rows)
    }


def differing(
    table: Reader, partitions: Sequence[Partition], one: int, other: int
) -> tuple[list[str], dict[str, object]]:
    """Return the columns in which two rows differ, and the values of the first row."""
    names = _columns(table)
    values = dict(_values(table, partitions, [one, other]))
    first, second = values[one], values[other]
    differ = [n for n, a, b in zip(names, first, second, strict=True) if repr(a) != repr(b)]
    return differ, dict(zip(names, first, strict=True))


def _columns(table: Reader) -> list[str]:
    return list(table.schema().names)


def _values(
    table: Reader, partitions: Sequence[Partition], rows: Sequence[int]
) -> Iterator[tuple[int, list[object]]]:
    leaves, wanted = [Leaf(name) for name in _columns(table)], set(rows)
    for part in partitions:
        if not any(part.first_row <= r < part.first_row + part.rows for r in wanted):
            continue
        for batch in table.read(part, leaves):
            for row in sorted(wanted.intersection(_range(batch))):
                arrays: list[pa.Array] = [batch.arrays[leaf] for leaf in leaves]
                yield row, [array[row - batch.first_row].as_py() for array in arrays]


def _range(batch: Batch) -> range:
    return range(batch.first_row, batch.first_row + batch.rows)
