"""JSON Lines: one object a line; every line is parsed once before anything is computed."""

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import orjson
import pyarrow as pa

from crowdselect_core.errors import DatasetError
from crowdselect_core.ingest.files import DataFile, fingerprint, read_failed
from crowdselect_core.ingest.reader import Batch, Leaf, Partition

BATCH_LINES = 1024
_MARK = 1000  # every so many lines the byte offset is remembered


class JsonLinesReader:
    """One or more JSON Lines files.

    The first pass over a file checks every line, collects the columns and remembers where lines
    start, so that partitions can be read by themselves and a bad line is told before the work.
    """

    def __init__(self, files: Sequence[DataFile]) -> None:
        self._files = list(files)

    def fingerprint(self) -> str:
        return fingerprint(self._files)

    def source(self, file: int) -> str:
        return self._files[file].shown

    def schema(self) -> pa.Schema:
        columns: dict[str, dict[str, pa.DataType] | pa.DataType] = {}
        for seen, _, _ in self._index:
            for name, kind in seen.items():
                there = columns.get(name)
                if isinstance(kind, dict) and isinstance(there, dict):
                    there.update({f: t for f, t in kind.items() if f not in there})
                elif there is None or there == pa.null():
                    columns[name] = kind
        return pa.schema([pa.field(name, _type(kind)) for name, kind in columns.items()])

    def partitions(self, rows: int) -> list[Partition]:
        step = max(1, rows // _MARK)
        found: list[Partition] = []
        first_row = 0
        for index, (_, offsets, total) in enumerate(self._index):
            for mark in range(0, len(offsets), step):
                taken = min(step * _MARK, total - mark * _MARK)
                if taken > 0:
                    found.append(Partition(index, first_row, taken, (offsets[mark], 0)))
                    first_row += taken
        return found

    def read(self, partition: Partition, leaves: Sequence[Leaf]) -> Iterator[Batch]:
        file = self._files[partition.file]
        row, left = partition.first_row, partition.rows
        with file.open() as handle:
            handle.seek(partition.where[0])
            lines = (line for line in handle if line.strip())
            while left > 0:
                wanted = min(left, BATCH_LINES)
                rows = [_parsed(file, line, None) for _, line in zip(range(wanted), lines)]  # noqa: B905
                arrays = {leaf: _array(file, rows, leaf, row) for leaf in leaves}
                yield Batch(row, len(rows), arrays)
                row, left = row + wanted, left - wanted

    @cached_property
    def _index(self) -> list[tuple[dict[str, Any], list[int], int]]:
        return [_scan(file) for file in self._files]


def _scan(file: DataFile) -> tuple[dict[str, Any], list[int], int]:
    """Return a file's columns, the offset of every _MARK-th row, and its number of rows."""
    if file.size == 0:
        raise DatasetError(f"{file.shown}: is empty (0 bytes), expected JSON Lines")
    columns: dict[str, Any] = {}
    offsets: list[int] = []
    rows = at = 0
    try:
        with file.open() as handle:
            for number, line in enumerate(handle, 1):
                if line.strip():
                    if rows % _MARK == 0:
                        offsets.append(at)
                    _note(columns, _parsed(file, line, number))
                    rows += 1
                at += len(line)
    except OSError as e:
        raise read_failed(file, e) from None
    return columns, offsets, rows


def _parsed(file: DataFile, line: bytes, number: int | None) -> dict[str, Any]:
    where = file.shown if number is None else f"{file.shown}, line {number}"
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        try:  # Python's json writes NaN and Infinity, which JSON does not have
            row = json.loads(line)
        except (ValueError, RecursionError) as e:
            raise DatasetError(
                f"{where}: is no JSON ({e}); expected one object a line; mend or remove the line"
            ) from None
    if not isinstance(row, dict):
        raise DatasetError(f"{where}: holds a {type(row).__name__}, expected an object a line")
    return row


def _note(columns: dict[str, Any], row: dict[str, Any]) -> None:
    """Add the columns of a row, and the fields of its objects, to those seen so far."""
    for name, value in row.items():
        if isinstance(value, dict):
            fields = columns.get(name)
            if not isinstance(fields, dict):
                fields = columns[name] = {}
            for field, inner in value.items():
                if fields.get(field) in (None, pa.null()):
                    fields[field] = _kind(inner)
        elif columns.get(name) in (None, pa.null()):
            columns[name] = _kind(value)


def _kind(value: Any) -> pa.DataType:
    if isinstance(value, bool):
        return pa.bool_()
    if isinstance(value, int | float):
        return pa.float64()
    if isinstance(value, list):
        return pa.list_(pa.float64() if value and isinstance(value[0], int | float) else pa.null())
    return pa.string() if isinstance(value, str) else pa.null()


def _type(kind: Any) -> pa.DataType:
    if isinstance(kind, dict):
        return pa.struct([pa.field(name, inner) for name, inner in kind.items()])
    return kind


def _array(file: DataFile, rows: list[dict[str, Any]], leaf: Leaf, first_row: int) -> pa.Array:
    values = [row.get(leaf.column) for row in rows]
    if leaf.field is not None:
        values = [v.get(leaf.field) if isinstance(v, dict) else None for v in values]
    try:
        return pa.array(values)
    except (pa.ArrowException, UnicodeEncodeError, OverflowError) as e:
        last = first_row + len(rows)
        raise DatasetError(
            f"{file.shown}: column {str(leaf)!r} mixes types or holds broken text in rows "
            f"{first_row}-{last} ({str(e).splitlines()[0][:120]}); give it one type"
        ) from None
