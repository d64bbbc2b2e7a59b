"""Columns of numbers that a data set has beside its answers: scores that others computed."""

import polars as pl
import pyarrow as pa

from crowdselect_core.errors import DatasetError, nearest, shown
from crowdselect_core.ingest import values
from crowdselect_core.ingest.columns import expect, is_number
from crowdselect_core.ingest.dataset import Dataset
from crowdselect_core.ingest.reader import Leaf, Partition


def find_number(dataset: Dataset, name: str, *, turns: bool = False) -> Leaf:
    """Find a column of numbers, or as STRUCT.FIELD a field of one; an exact name comes first.

    Args:
        dataset: an open data set.
        name: the column's.
        turns: whether it may hold lists of numbers, one a turn.

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
    kinds = (is_number, is_numbers) if turns else (is_number,)
    expect(schema, leaf, dataset.config.path, "numbers", *kinds)
    return leaf


def read_number(dataset: Dataset, part: Partition, leaf: Leaf) -> pl.Series:
    """Return the numbers of a partition, or lists of them; null for what is null or not finite."""
    found = []
    for batch in dataset.table.read(part, [leaf]):
        array = batch.arrays[leaf]
        if is_numbers(array.type):
            found.append(pl.Series(array).cast(pl.List(pl.Float64)))
        else:
            found.append(pl.Series(values.numbers(array), nan_to_null=True))
    return pl.concat(found)


def is_numbers(kind: pa.DataType) -> bool:
    """Tell a type of lists of numbers."""
    types = pa.types
    lists = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return bool(lists and is_number(kind.value_type))


def _leaf(schema: pa.Schema, name: str) -> Leaf | None:
    if name in schema.names:
        return Leaf(name)
    for place in (i for i, letter in enumerate(name) if letter == "."):
        column, field = name[:place], name[place + 1 :]
        kind = schema.field(column).type if column in schema.names else None
        if kind is not None and pa.types.is_struct(kind) and kind.get_field_index(field) >= 0:
            return Leaf(column, field)
    return None
