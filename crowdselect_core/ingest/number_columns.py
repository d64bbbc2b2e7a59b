"""Columns of numbers that a data set has beside its answers: scores that others computed."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from crowdselect_core.errors import DatasetError, nearest, shown
from crowdselect_core.ingest import values
from crowdselect_core.ingest.columns import expect, is_number
from crowdselect_core.ingest.dataset import Dataset
from crowdselect_core.ingest.reader import Leaf, Partition


def find_number(dataset: Dataset, name: str) -> Leaf:
    """Find a column of numbers, or as STRUCT.FIELD a field of one; an exact name comes first.

    Raises:
        DatasetError: no such column, or not of numbers.
    """
    schema = dataset.table.schema()
    leaf = _leaf(schema, name)
    if leaf is None:
        known = [f.name for f in schema if is_number(f.type)]
        raise DatasetError(
            f"{dataset.config.path}: has no column {name!r}{nearest(name, known)} (columns of "
            f"numbers: {shown(known) or 'none'})"
        )
    expect(schema, leaf, dataset.config.path, "numbers", is_number)
    return leaf


def read_number(dataset: Dataset, part: Partition, leaf: Leaf) -> Iterator[NDArray[np.float64]]:
    """Yield the numbers of a partition batch by batch; NaN for what is null or not finite."""
    for batch in dataset.table.read(part, [leaf]):
        yield values.numbers(batch.arrays[leaf])


def _leaf(schema: pa.Schema, name: str) -> Leaf | None:
    if name in schema.names:
        return Leaf(name)
    for place in (i for i, letter in enumerate(name) if letter == "."):
        column, field = name[:place], name[place + 1 :]
        kind = schema.field(column).type if column in schema.names else None
        if kind is not None and pa.types.is_struct(kind) and kind.get_field_index(field) >= 0:
            return Leaf(column, field)
    return None
