"""JSON Lines: one object a line; every line is parsed once before anything is computed."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import orjson
import pyarrow as pa

from crowdselect_core.errors import DatasetError, first_line
from crowdselect_core.ingest.files import DataFile, FileReader, read_failed
from crowdselect_core.ingest.reader import Batch, Leaf, Partition

BATCH_LINES = 1024
_MARK = 1000  # every so many lines the byte offset is remembered
# Values of several kinds, and what is neither text nor numbers, are kept as their JSON, so that
# only a column that is needed is refused.
MIXED = pa.binary()
_ARROW: list[tuple[set[type], pa.DataType]] = [
    (set(), pa.null()),
    ({str}, pa.string()),
    ({bool}, pa.bool_()),
    ({int}, pa.int64()),
    ({int, float}, pa.float64()),
    ({list}, pa.list_(pa.float64())),
]
_WORDS = {
    str: "text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    list: "a list",
    tuple: "a list",
    dict: "an object",
}

Kinds = dict[type, int]  # the first line where a value of the kind stands
Columns = dict[str, dict[str | None, Kinds]]  # by column and field; None: of the column itself


class JsonLinesReader(FileReader):
    """One or more JSON Lines files.

    The first pass over a file checks every line, collects the columns and remembers where lines
    start, so that partitions can be read by themselves and a bad line is told before the work.
    """

    def schema(self) -> pa.Schema:
        return self._schema

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
                arrays = {leaf: _array(file, rows, leaf, self._field(leaf), row) for leaf in leaves}
                yield Batch(row, len(rows), arrays)
                row, left = row + wanted, left - wanted

    def _field(self, leaf: Leaf) -> pa.Field:
        column = self._schema.field(leaf.column)
        return column if leaf.field is None else column.type.field(leaf.field)

    @cached_property
    def _schema(self) -> pa.Schema:
        if not any(rows for _, _, rows in self._index):
            raise DatasetError(f"{self.source(0)}: has no rows; expected one object a line")
        columns: Columns = {}
        for seen, _, _ in self._index:
            for name, fields in seen.items():
                there = columns.setdefault(name, {})
                for field, kinds in fields.items():
                    there[field] = kinds | there.get(field, {})
        return pa.schema([_column(name, fields) for name, fields in columns.items()])

    @cached_property
    def _index(self) -> list[tuple[Columns, list[int], int]]:
        return [_scanned(file) for file in self._files]


_SCANS: dict[tuple[str, str], tuple[Columns, list[int], int]] = {}
_SCANS_KEPT = 64


def _scanned(file: DataFile) -> tuple[Columns, list[int], int]:
    """Scan a file once in a process: every stage opens the data set anew."""
    known = (file.shown, file.digest)
    if known not in _SCANS:
        if len(_SCANS) >= _SCANS_KEPT:
            _SCANS.clear()
        _SCANS[known] = _scan(file)
    return _SCANS[known]


def _scan(file: DataFile) -> tuple[Columns, list[int], int]:
    """Return a file's columns, the offset of every _MARK-th row, and its number of rows."""
    if file.size == 0:
        raise DatasetError(f"{file.shown}: is empty (0 bytes), expected JSON Lines")
    columns: Columns = {}
    offsets: list[int] = []
    rows = at = 0
    try:
        with file.open() as handle:
            for number, line in enumerate(handle, 1):
                if line.strip():
                    if rows % _MARK == 0:
                        offsets.append(at)
                    _note(columns, _parsed(file, line, number), number)
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
            cause = f"{e.msg}, character {e.pos}" if isinstance(e, json.JSONDecodeError) else e
            raise DatasetError(
                f"{where}: is no JSON ({cause}); expected one object a line{_array_hint(line)}; "
                "mend or remove the line"
            ) from None
    if not isinstance(row, dict):
        raise DatasetError(
            f"{where}: holds {_WORDS.get(_kind(row), 'null')}, expected one object a line"
            f"{_array_hint(line)}"
        )
    return row


def _array_hint(line: bytes) -> str:
    array = line.lstrip().startswith(b"[")
    return " (if the file is one JSON array, write its elements line by line)" if array else ""


def _note(columns: Columns, row: dict[str, Any], number: int) -> None:
    """Add the kinds of a row's values, and of the fields of its objects, to those seen so far."""
    for name, value in row.items():
        fields = columns.get(name)
        if fields is None:
            fields = columns[name] = {None: {}}
        fields[None].setdefault(_kind(value), number)
        if isinstance(value, dict):
            for field, inner in value.items():
                kinds = fields.get(field)
                if kinds is None:
                    kinds = fields[field] = {}
                kinds.setdefault(_kind(inner), number)


def _kind(value: Any) -> type:
    """Return a value's type; `tuple` stands for a list that holds no numbers."""
    if isinstance(value, list) and value and type(value[0]) not in (int, float):
        return tuple
    return type(value)


def _column(name: str, fields: Mapping[str | None, Kinds]) -> pa.Field:
    """Return the Arrow field of a column: a struct where every value is an object."""
    inner = [_leaf(field, kinds) for field, kinds in fields.items() if field is not None]
    if inner and set(fields[None]) <= {dict, type(None)}:
        return pa.field(name, pa.struct(inner))
    return _leaf(name, fields[None])


def _leaf(name: str, kinds: Kinds) -> pa.Field:
    """Return the Arrow field of values that are no objects; mixed kinds name their lines."""
    found = {kind: line for kind, line in kinds.items() if kind is not type(None)}
    for fitting, arrow in _ARROW:
        if set(found) <= fitting:
            return pa.field(name, arrow)
    told = ", ".join(f"{_WORDS[kind]} in line {line}" for kind, line in found.items())
    lists = {"lists": "all"} if set(found) <= {list, tuple} else {}
    return pa.field(name, MIXED, metadata={"found": told} | lists)


def _array(
    file: DataFile, rows: list[dict[str, Any]], leaf: Leaf, field: pa.Field, first_row: int
) -> pa.Array:
    values = [row.get(leaf.column) for row in rows]
    if leaf.field is not None:
        values = [v.get(leaf.field) if isinstance(v, dict) else None for v in values]
    elif pa.types.is_struct(field.type):
        inner = [_array(file, rows, Leaf(leaf.column, f.name), f, first_row) for f in field.type]
        return pa.StructArray.from_arrays(inner, fields=list(field.type))
    if field.type == MIXED:
        return pa.array([json.dumps(v, sort_keys=True).encode() for v in values], type=MIXED)
    try:
        if field.type == pa.float64():  # a whole number beyond 2**53 is rounded, as JSON's are
            values = [None if v is None else float(v) for v in values]
        return pa.array(values, type=field.type)
    except (pa.ArrowException, UnicodeEncodeError, OverflowError, TypeError) as e:
        last = first_row + len(rows) - 1
        raise DatasetError(
            f"{file.shown}: column {str(leaf)!r} holds broken text or a number out of range in "
            f"rows {first_row}-{last} ({first_line(e, 120)}); mend it"
        ) from None
