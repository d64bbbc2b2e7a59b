"""Tables that are held whole: CSV files, and what was pivoted from the long form."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from crowdselect_core.errors import DatasetError, first_line
from crowdselect_core.ingest.encodings import not_utf8
from crowdselect_core.ingest.files import DataFile, fingerprint, read_failed
from crowdselect_core.ingest.flat_columns import holds_answers
from crowdselect_core.ingest.reader import Batch, Leaf, Partition, row_of_file
from crowdselect_core.ingest.text_files import text_file

TAB = "\t"
_SEPARATORS = {",": "commas", ";": "semicolons (;)", TAB: "tabs", "|": "bars (|)"}


class MemoryReader:
    """One Arrow table in memory."""

    def __init__(self, table: pa.Table, fingerprint: str, source: str) -> None:
        self._table, self._fingerprint, self._source = table, fingerprint, source

    def fingerprint(self) -> str:
        return self._fingerprint

    def digests(self) -> list[str]:
        return [self._fingerprint]

    def source(self, file: int) -> str:
        return self._source

    def place(self, row: int) -> str:
        return row_of_file(row, [(self._source, self._table.num_rows)])

    def schema(self) -> pa.Schema:
        return self._table.schema

    def partitions(self, rows: int) -> list[Partition]:
        total = self._table.num_rows
        return [Partition(0, at, min(rows, total - at), (0, 0)) for at in range(0, total, rows)]

    def read(self, partition: Partition, leaves: Sequence[Leaf]) -> Iterator[Batch]:
        part = self._table.slice(partition.first_row, partition.rows)
        arrays = {}
        for leaf in leaves:
            column = part.column(leaf.column).combine_chunks()
            arrays[leaf] = column if leaf.field is None else pc.struct_field(column, [leaf.field])
        yield Batch(partition.first_row, part.num_rows, arrays)


class CsvReader(MemoryReader):
    """CSV files as one table in memory; the place of a row is its line."""

    def __init__(
        self, table: pa.Table, files: Sequence[DataFile], rows: Sequence[int], separator: str
    ) -> None:
        super().__init__(table, fingerprint(list(files)), files[0].shown)
        self._files, self._rows, self._separator = list(files), list(rows), separator

    def place(self, row: int) -> str:
        for file, rows in zip(self._files, self._rows, strict=True):
            if row < rows:
                return f"{file.shown}, line {_line(file, row, self._separator)}"
            row -= rows
        return super().place(row)

    def schema(self) -> pa.Schema:
        """The columns; one of texts says where its first text that is no number stands."""
        return self._schema

    @cached_property
    def _schema(self) -> pa.Schema:
        return pa.schema([self._noted(field) for field in super().schema()])

    def _noted(self, field: pa.Field) -> pa.Field:
        if not pa.types.is_large_string(field.type):
            return field
        column = pl.Series(self._table.column(field.name).combine_chunks())
        given = column.str.strip_chars().replace("", None)
        bad = given.is_not_null() & given.cast(pl.Float64, strict=False).is_null()
        row = bad.arg_max()
        if row is None or not bad[row]:
            return field
        return field.with_metadata({"found": f"text in {self.place(row).rpartition(', ')[2]}"})


def _line(file: DataFile, row: int, separator: str) -> int:
    """Return the line, from 1, on which a row of a CSV file ends; a text may span several."""
    with text_file(file, arrays=False).open() as handle:
        text = io.TextIOWrapper(handle, "utf-8-sig", newline="")
        lines = csv.reader(text, delimiter=separator)
        rows = (lines.line_num for values in lines if not _is_blank(values))
        return next(islice(rows, row + 1, None), lines.line_num)


def read_csv(files: Sequence[DataFile], texts: Iterable[str], separator: str = ",") -> CsvReader:
    """Read CSV files whole.

    Args:
        files: with the same columns.
        texts: columns that stay text even where all of it is digits: ids such as 007, names.
        separator: of the values.

    Raises:
        DatasetError: a file is empty or no CSV, or the files' columns differ.
    """
    frames = []
    for file in files:
        try:
            with text_file(file, arrays=False).open() as handle:
                data = handle.read()
            data.decode("utf-8-sig")
            frame = pl.read_csv(io.BytesIO(data), infer_schema=False, separator=separator)
            frame = _without_blank(frame, data, separator)
        except OSError as e:
            raise read_failed(file, e) from None
        except UnicodeDecodeError as e:
            line = data.count(b"\n", 0, e.start) + 1
            start = data.rfind(b"\n", 0, e.start) + 1
            where = f"{file.shown}, line {line}"
            raise not_utf8(where, data[start : e.end], e.start - start) from None
        except pl.exceptions.PolarsError as e:
            if file.size == 0 or not data.strip():
                raise DatasetError(f"{file.shown}: is empty, expected a CSV table") from None
            raise DatasetError(
                f"{file.shown}: is no CSV table: {_csv_cause(data, e, separator)}; expected "
                "one line of names and then as many values a line"
            ) from None
        if frame.width == 1 and (hint := _other_separator(data, separator)):
            raise DatasetError(f"{file.shown}: has one column{hint}")
        kept = {*texts, *(c for c in frame.columns if holds_answers(c, frame.columns))}
        frames.append(frame.with_columns(_number(frame[c]) for c in frame.columns if c not in kept))
    try:
        table = pl.concat(frames, how="vertical_relaxed").to_arrow()
    except pl.exceptions.PolarsError:
        raise DatasetError(
            f"{files[0].shown} and its neighbours have different columns; give them the same"
        ) from None
    return CsvReader(table, files, [frame.height for frame in frames], separator)


def _without_blank(frame: pl.DataFrame, data: bytes, separator: str) -> pl.DataFrame:
    """Return the rows that are not blank lines, which hold nulls as a line of commas alone does."""
    first, *others = frame.columns
    empty = pl.all_horizontal(
        pl.col(first).str.strip_chars().fill_null("") == "", *(pl.col(c).is_null() for c in others)
    )
    if not frame.select(empty.any()).item():
        return frame
    lines = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), delimiter=separator)
    try:
        blank = [_is_blank(values) for values in lines]
    except csv.Error:  # a field that is longer than it takes: no blank line is left out
        return frame
    blank = blank[-frame.height :]  # those above the names are no rows
    return frame.filter(~pl.Series(blank)) if len(blank) == frame.height else frame


def _is_blank(values: Sequence[str]) -> bool:
    """Tell a line of a CSV file without anything in it but spaces."""
    return not values or (len(values) == 1 and values[0] != "" and not values[0].strip())


def _csv_cause(data: bytes, error: Exception, separator: str) -> str:
    """Name the first line with another number of values than the line of names has."""
    lines = csv.reader(io.StringIO(data.decode("utf-8-sig")), delimiter=separator)
    hint = _other_separator(data, separator)
    try:
        width = len(next(lines))
        for row in lines:
            if row and len(row) != width:
                return f"line {lines.line_num} has {len(row)} values, expected {width}{hint}"
    except (csv.Error, StopIteration):
        return f"its line {lines.line_num} cannot be read{hint}"
    return f"{first_line(error)}{hint}"


def _other_separator(data: bytes, separator: str) -> str:
    """Say which separator a table seems to have: one that its line of names has more often."""
    names = data.split(b"\n", 1)[0].decode("utf-8-sig", "replace")
    other = max(_SEPARATORS, key=names.count)
    if other == separator or names.count(other) <= names.count(separator):
        return ""
    found, wanted = _SEPARATORS[other], _SEPARATORS[separator]
    return (
        f"; its values seem to be separated by {found}, expected {wanted}: write it with "
        f"{wanted}{', or name it .tsv' if other == TAB else ''}"
    )


def _number(column: pl.Series) -> pl.Series:
    """Return a column as numbers (nan and inf are some, whatever their case), or as it is."""
    given = column.str.strip_chars().replace("", None)
    numbers = given.cast(pl.Float64, strict=False)
    return column if numbers.null_count() > given.null_count() else numbers
