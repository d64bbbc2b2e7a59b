"""JSON Lines and JSON arrays: every row is parsed once before anything is computed."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import orjson
import pyarrow as pa

from crowdselect_core.errors import DatasetError
from crowdselect_core.ingest import json_columns
from crowdselect_core.ingest.encodings import not_utf8
from crowdselect_core.ingest.files import DataFile, FileReader, read_failed
from crowdselect_core.ingest.json_columns import Columns, ColumnsSeen
from crowdselect_core.ingest.reader import Batch, Leaf, Partition
from crowdselect_core.ingest.text_files import TextFile, text_file

BATCH_LINES = 1024
_MARK = 1000  # every so many rows the byte offset and the line are remembered


@dataclass(frozen=True)
class _Scan:
    """What the first pass over a file found."""

    text: TextFile
    columns: Columns
    marks: list[tuple[int, int]]  # of every _MARK-th row: where its line begins, and its number
    rows: int


class JsonLinesReader(FileReader):
    """One or more files of JSON Lines, or JSON arrays of objects, packed or not.

    The first pass over a file checks every line, collects the columns and remembers where lines
    start, so that partitions can be read by themselves and a bad line is told before the work.
    """

    def place(self, row: int) -> str:
        for scan in self._index:
            if row < scan.rows:
                with scan.text.open() as handle:
                    lines = _numbered(scan, handle, row // _MARK)
                    number, _ = next(islice(lines, row % _MARK, None), (0, b""))
                return f"{scan.text.shown}, line {scan.text.line(number)}"
            row -= scan.rows
        return f"{self.source(-1)}, behind its last line"

    def schema(self) -> pa.Schema:
        return self._schema

    def partitions(self, rows: int) -> list[Partition]:
        step = max(1, rows // _MARK)
        found: list[Partition] = []
        first_row = 0
        for index, scan in enumerate(self._index):
            for mark in range(0, len(scan.marks), step):
                taken = min(step * _MARK, scan.rows - mark * _MARK)
                if taken > 0:
                    found.append(Partition(index, first_row, taken, (mark, 0)))
                    first_row += taken
        return found

    def read(self, partition: Partition, leaves: Sequence[Leaf]) -> Iterator[Batch]:
        scan = self._index[partition.file]
        row, left = partition.first_row, partition.rows
        fields = [(leaf, self._field(leaf)) for leaf in leaves]
        with scan.text.open() as handle:
            lines = _numbered(scan, handle, partition.where[0])
            while left > 0:
                taken = list(islice(lines, min(left, BATCH_LINES)))
                if not taken:
                    return
                numbers = [scan.text.line(place) for place, _ in taken]
                rows = [_parsed(scan.text, place, line)[0] for place, line in taken]
                arrays = {
                    leaf: json_columns.build(scan.text.shown, rows, leaf, field, numbers)
                    for leaf, field in fields
                }
                yield Batch(row, len(rows), arrays)
                row, left = row + len(rows), left - len(rows)

    def _field(self, leaf: Leaf) -> pa.Field:
        column = self._schema.field(leaf.column)
        return column if leaf.field is None else column.type.field(leaf.field)

    @cached_property
    def _schema(self) -> pa.Schema:
        if not any(scan.rows for scan in self._index):
            raise DatasetError(f"{self.source(0)}: has no rows; expected one object a line")
        columns = json_columns.merged([scan.columns for scan in self._index])
        return pa.schema([json_columns.column(name, fields) for name, fields in columns.items()])

    @cached_property
    def _index(self) -> list[_Scan]:
        return [_scanned(file) for file in self._files]


_SCANS: dict[tuple[str, str], _Scan] = {}
_SCANS_KEPT = 4096  # columns and marks, some kB each


def _scanned(file: DataFile) -> _Scan:
    """Scan a file once in a process: every stage opens the data set anew."""
    key = (file.shown, file.digest)
    scan = _SCANS.get(key)
    if scan is None:
        scan = _scan(file)
        if len(_SCANS) >= _SCANS_KEPT:
            _SCANS.clear()
        _SCANS[key] = scan
    return scan  # another thread may have cleared the scans by now


def _scan(file: DataFile) -> _Scan:
    """Parse every line of a file."""
    if file.size == 0:
        raise DatasetError(f"{file.shown}: is empty (0 bytes), expected JSON Lines")
    text = text_file(file)
    seen = ColumnsSeen()
    marks: list[tuple[int, int]] = []
    rows = at = 0
    try:
        with text.open() as handle:
            for place, line in enumerate(handle, 1):
                if not line.isspace():
                    if rows % _MARK == 0:
                        marks.append((at, place))
                    row, checked = _parsed(text, place, line)
                    if not (checked and seen.has_all_of(row)):
                        seen.note(row, text.line(place), checked=checked)
                    rows += 1
                at += len(line)
    except OSError as e:
        raise read_failed(file, e) from None
    return _Scan(text, seen.columns, marks, rows)


def _numbered(scan: _Scan, handle: Any, mark: int) -> Iterator[tuple[int, bytes]]:
    """Yield (number, line) of the lines from a mark on that are not blank."""
    offset, first = scan.marks[mark]
    handle.seek(offset)
    return ((n, line) for n, line in enumerate(handle, first) if not line.isspace())


def _parsed(text: TextFile, place: int, line: bytes) -> tuple[dict[str, Any], bool]:
    """Return the row of a line, and whether its texts are known to be whole."""
    checked = True
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        checked = False
        row = _parsed_leniently(f"{text.shown}, line {text.line(place)}", line)
    if not isinstance(row, dict):
        raise DatasetError(
            f"{text.shown}, line {text.line(place)}: holds {json_columns.word(row)}, expected one "
            f"object a line{_array_hint(line)}"
        )
    return row, checked


def _parsed_leniently(where: str, line: bytes) -> Any:
    """Parse what Python's json writes and JSON does not have: NaN, Infinity, lone surrogates."""
    try:
        return json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as e:
        raise not_utf8(where, line, e.start) from None
    except json.JSONDecodeError as e:
        following = e.doc[e.pos : e.pos + 20].strip()
        if not following or e.msg.startswith("Unterminated"):
            cause = "it ends before its object does, and may be cut off"
        else:
            cause = f"from character {e.pos + 1} on: {following!r}"
        raise DatasetError(
            f"{where}: is no JSON ({cause}); expected one object a line{_array_hint(line)}; "
            "correct or remove the line"
        ) from None
    except (ValueError, RecursionError):  # a number of thousands of digits; nested too deep
        raise DatasetError(
            f"{where}: is no JSON that can be read (nested too deep, or a number of thousands of "
            "digits); correct or remove the line"
        ) from None


def _array_hint(line: bytes) -> str:
    array = line.lstrip().startswith(b"[")
    return " (a JSON array is read where the file begins with it)" if array else ""
