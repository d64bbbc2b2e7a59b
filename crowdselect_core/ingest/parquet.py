"""Parquet: struct fields are read leaf by leaf, row group by row group."""

import sys
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import chain
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from crowdselect_core.errors import DatasetError, UserError
from crowdselect_core.ingest.files import DataFile, FileReader, read_failed
from crowdselect_core.ingest.parquet_schema import joined
from crowdselect_core.ingest.reader import Batch, Leaf, Partition, row_of_file
from crowdselect_core.store.safe_parquet import Unreadable, check, names

BATCH_BYTES = 32 << 20  # decoded bytes a batch is aimed at
BATCH_ROWS = 1 << 17  # that a batch has at most


class ParquetReader(FileReader):
    """One or more parquet files with the same columns."""

    def place(self, row: int) -> str:
        rows = [m.num_rows for m in self._metadata]
        return row_of_file(row, [(f.shown, n) for f, n in zip(self._files, rows, strict=True)])

    def schema(self) -> pa.Schema:
        return self._schema

    def partitions(self, rows: int) -> list[Partition]:
        found: list[Partition] = []
        first_row = 0
        for index, metadata in enumerate(self._metadata):
            start = taken = 0
            for group in range(metadata.num_row_groups):
                taken += metadata.row_group(group).num_rows
                if taken >= rows or group == metadata.num_row_groups - 1:
                    found.append(Partition(index, first_row, taken, (start, group + 1)))
                    first_row, start, taken = first_row + taken, group + 1, 0
        return [p for p in found if p.rows]

    def read(self, partition: Partition, leaves: Sequence[Leaf]) -> Iterator[Batch]:
        file, metadata = self._files[partition.file], self._metadata[partition.file]
        groups = list(range(*partition.where))
        row, end = partition.first_row, partition.first_row + partition.rows
        try:
            with file.open() as handle:
                parquet = pq.ParquetFile(handle, metadata=metadata, pre_buffer=not file.is_local)
                columns = sorted({str(leaf) for leaf in leaves})
                # A dictionary inside a struct is one row group's own, and batches cannot join two.
                runs = [[g] for g in groups] if _has_inner_dictionary(parquet) else [groups]
                size = min(_batch_rows(metadata, groups, leaves), partition.rows)
                batches = chain.from_iterable(
                    parquet.iter_batches(batch_size=size, row_groups=run, columns=columns)
                    for run in runs
                )
                for batch in batches:
                    rows = min(batch.num_rows, end - row)
                    if rows <= 0:
                        break
                    arrays = {leaf: leaf_of(batch, leaf).slice(0, rows) for leaf in leaves}
                    yield Batch(row, rows, arrays)
                    row += rows
        except (pa.ArrowException, OSError, UnicodeDecodeError, MemoryError, OverflowError) as e:
            raise read_failed(file, e) from None

    @cached_property
    def _schema(self) -> pa.Schema:
        schemas = [m.schema.to_arrow_schema() for m in self._metadata]
        return joined([f.shown for f in self._files], schemas)

    @cached_property
    def _metadata(self) -> list[Any]:
        return [self._footer(file) for file in self._files]

    def _footer(self, file: DataFile) -> Any:
        if file.size == 0:
            raise DatasetError(f"{file.shown}: is empty (0 bytes), expected a parquet file")
        try:
            with file.open() as handle:
                metadata = pq.ParquetFile(handle).metadata
            check(metadata, file.size, most=sys.maxsize)
            names(metadata.schema.to_arrow_schema())
            return metadata
        except (pa.ArrowException, OSError, ValueError, MemoryError, OverflowError) as e:
            if isinstance(e, UserError):
                raise
            cause = f" ({e})" if isinstance(e, Unreadable) else ", it may be cut off or damaged"
            raise DatasetError(
                f"{file.shown}: is not a complete parquet file{cause}; write or fetch it again"
            ) from None


def _has_inner_dictionary(parquet: pq.ParquetFile) -> bool:
    fields = [inner for field in parquet.schema_arrow for inner in _inner(field.type)]
    return any(pa.types.is_dictionary(kind) for kind in fields)


def _inner(kind: pa.DataType) -> list[pa.DataType]:
    fields = [kind.field(i).type for i in range(kind.num_fields)]
    return [*fields, *(inner for field in fields for inner in _inner(field))]


def leaf_of(batch: pa.RecordBatch, leaf: Leaf) -> pa.Array:
    """Return a leaf of a batch; nulls where the file lacks it.

    Raises:
        ArrowException: what it holds is damaged.
    """
    if leaf.column not in batch.schema.names:  # this file has no value in it, and so no fields
        return pa.nulls(batch.num_rows)
    array = batch.column(leaf.column)
    if leaf.field is not None:
        if array.type.get_field_index(leaf.field) < 0:
            return pa.nulls(batch.num_rows)
        array = pc.struct_field(array, [leaf.field])
    if isinstance(array, pa.ExtensionArray):  # JSON, which is text
        array = array.storage
    array.validate(full=True)  # text that is no UTF-8 is told here, and not wherever it is used
    if "_view" in str(array.type):  # as polars writes texts to .arrow; few functions take them
        return pl.Series(array).to_arrow(compat_level=pl.CompatLevel.oldest())
    return array


def _batch_rows(metadata: Any, groups: list[int], leaves: Sequence[Leaf]) -> int:
    """Return how many rows of these leaves make about BATCH_BYTES decoded bytes."""
    wanted = {str(leaf) for leaf in leaves}
    group = metadata.row_group(groups[0])
    size = 1
    for i in range(group.num_columns):
        column = group.column(i)
        path = column.path_in_schema
        if path in wanted or any(path.startswith(f"{w}.") for w in wanted):
            size += column.total_uncompressed_size
    return int(max(256, min(BATCH_ROWS, BATCH_BYTES * max(group.num_rows, 1) // size)))
