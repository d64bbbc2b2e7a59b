"""Parquet: struct fields are read leaf by leaf, row group by row group."""

import sys
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from crowdselect_core.errors import DatasetError, UserError, first_line, shown
from crowdselect_core.ingest.files import DataFile, FileReader, read_failed
from crowdselect_core.ingest.reader import Batch, Leaf, Partition
from crowdselect_core.store.safe_parquet import check, names

BATCH_BYTES = 32 << 20  # decoded bytes a batch is aimed at


class ParquetReader(FileReader):
    """One or more parquet files with the same columns."""

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
                batches = parquet.iter_batches(
                    batch_size=_batch_rows(metadata, groups, leaves),
                    row_groups=groups,
                    columns=sorted({str(leaf) for leaf in leaves}),
                )
                for batch in batches:
                    rows = min(batch.num_rows, end - row)
                    if rows <= 0:
                        break
                    arrays = {leaf: _leaf(batch, leaf).slice(0, rows) for leaf in leaves}
                    yield Batch(row, rows, arrays)
                    row += rows
        except (pa.ArrowException, OSError, UnicodeDecodeError, MemoryError, OverflowError) as e:
            raise read_failed(file, e) from None

    @cached_property
    def _schema(self) -> pa.Schema:
        merged: dict[str, pa.Field] = {}
        for file, metadata in zip(self._files, self._metadata, strict=True):
            schema = metadata.schema.to_arrow_schema()
            if twice := sorted({n for n in schema.names if schema.names.count(n) > 1}):
                raise DatasetError(f"{file.shown}: two columns have the name {twice[0]!r}")
            here = {field.name: field for field in schema}
            different = sorted(set(here) ^ set(merged)) if merged else []
            different += [
                f"{n}: {here[n].type} and not {merged[n].type}"
                for n in here
                if n in merged and not _alike(merged[n], here[n])
            ]
            if different:
                raise DatasetError(
                    f"{file.shown}: its columns differ from those of {self._files[0].shown} "
                    f"({shown(different, 5)}); all files of a data set need the same columns"
                )
            merged = {n: _joined(merged.get(n, here[n]), here[n]) for n in merged or here}
        return pa.schema(list(merged.values()))

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
            cause = first_line(e) if file.is_local else type(e).__name__
            raise DatasetError(
                f"{file.shown}: is no whole parquet file ({cause}); write or fetch it again"
            ) from None


def _alike(one: pa.Field, other: pa.Field) -> bool:
    """Tell whether two files give a column the same meaning; one without any value fits all."""
    if _is_list(one.type) and _is_list(other.type):
        return _alike(one.type.value_field, other.type.value_field)
    if not (pa.types.is_struct(one.type) and pa.types.is_struct(other.type)):
        return len({_kind(one.type), _kind(other.type)} - {"null"}) <= 1
    fields, others = ({f.name: f for f in kind} for kind in (one.type, other.type))
    return fields.keys() == others.keys() and all(_alike(f, others[n]) for n, f in fields.items())


def _joined(one: pa.Field, other: pa.Field) -> pa.Field:
    """Return the column with the type of the file that has values; the two are alike."""
    if pa.types.is_null(one.type):
        return other
    if _is_list(one.type) and _is_list(other.type):
        item = _joined(one.type.value_field, other.type.value_field)
        return one.with_type(pa.list_(item))
    if not pa.types.is_struct(one.type) or not pa.types.is_struct(other.type):
        return one
    inner = [_joined(field, other.type.field(field.name)) for field in one.type]
    return one.with_type(pa.struct(inner))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _kind(kind: pa.DataType) -> str:
    """Name a type as far as it matters: files may differ in the width of their numbers."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "numbers"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view():
        return "text"
    return "struct" if pa.types.is_struct(kind) else str(kind)


def _leaf(batch: pa.RecordBatch, leaf: Leaf) -> pa.Array:
    if leaf.column not in batch.schema.names:  # this file has no value in it, and so no fields
        return pa.nulls(batch.num_rows)
    column = batch.column(leaf.column)
    array = column if leaf.field is None else pc.struct_field(column, [leaf.field])
    array.validate(full=True)  # text that is no UTF-8 is told here, and not wherever it is used
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
    return int(max(256, min(65_536, BATCH_BYTES * max(group.num_rows, 1) // size)))
