"""Parquet bytes that somebody else may have written: looked at before they are decoded.

The right sha256 says that bytes are those their name promises, not that they are harmless: who may
write to a bucket may name what he likes. So the footer is read first, and a file that would unfold
to far more than it weighs, or holds other columns than its reader knows, is refused.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from crowdselect_core.errors import shown

FLOOR = 512 << 20  # decoded bytes that any file may have
RATIO = 200  # times its own size that a larger one may unfold to
MOST = 16 << 30  # decoded bytes that no file may have
CELL = 8  # decoded bytes that a value of a column takes at least
MARK = "crowdselect"  # key of what a file tells of itself

Schema = Mapping[str, type[pl.DataType] | pl.DataType]


# What decoding raises beside Arrow's own errors: text that is no UTF-8, numbers that fit nowhere.
_FAULTS = (
    pl.exceptions.PolarsError,
    pl.exceptions.PanicException,
    OSError,
    ValueError,
    TypeError,
    KeyError,
    MemoryError,
    OverflowError,
    RecursionError,
)


class Unreadable(ValueError):
    """Bytes that are no parquet file of ours; the message says why."""


def decode(
    data: bytes,
    columns: list[str] | None = None,
    *,
    rows: int | None = None,
    schema: Schema | None = None,
) -> pl.DataFrame:
    """Return the table that `data` holds.

    Arrow reads it and not polars, which ends the whole process at a page of an absurd length.

    Args:
        data: the whole file.
        columns: those that are read; all of them if None.
        rows: how many there must be.
        schema: the columns that there must be, with their types.

    Raises:
        Unreadable: no parquet, other rows or columns than there must be, or far too much of them.
    """
    with _opened(data) as file:
        check(file.metadata, len(data), rows)
        if missing := [c for c in columns or () if c not in file.schema_arrow.names]:
            raise Unreadable(f"lacks the columns {shown(missing)}")
        names(file.schema_arrow)
        if schema is not None:
            # Not `schema_arrow.empty_table()`, which imports pandas: most of a second.
            found = _frame(pa.Table.from_batches([], file.schema_arrow)).schema
            if found != pl.Schema(schema):
                raise Unreadable(f"has the columns {shown(found)}, expected {shown(schema)}")
        # Shards are read side by side already. Arrow's threads, where they have just been started,
        # abort a process that ends at once ("terminate called without an active exception").
        table = file.read(columns=columns, use_threads=False)
        table.validate(full=True)  # polars takes it for granted that text is UTF-8
        frame = _frame(table)
    if rows is not None and frame.height != rows:
        raise Unreadable(f"has {frame.height:,} rows, expected {rows:,}")
    return frame


def read_metadata(data: bytes, rows: int | None = None) -> dict[str, Any]:
    """Return the metadata that a file has beside its table; empty where it has none.

    Raises:
        Unreadable: no parquet, or it cannot be what it says.
    """
    with _opened(data) as file:
        text = (file.metadata.metadata or {}).get(MARK.encode())
        found = json.loads(text) if text is not None else {}
        if not isinstance(found, dict):
            raise Unreadable("has metadata that is no object")
        check(file.metadata, len(data), found.get("rows"))
    return found


def column_names(data: bytes) -> list[str]:
    """Return the names of a file's columns in order; raises as `decode` does."""
    with _opened(data) as file:
        return list(file.schema_arrow.names)


def with_metadata(data: bytes, text: str) -> bytes:
    """Return a file with another text as what it tells of itself, its table byte for byte.

    The text stands in the footer, which is Thrift's compact form: key and value of a pair, each
    behind its length. Nothing in a footer counts bytes of the footer itself.

    Args:
        data: a whole file that a build wrote.
        text: the JSON that takes the place of the one that is there.

    Raises:
        Unreadable: no parquet, or it tells nothing of itself.
    """
    with _opened(data) as file:
        told = (file.metadata.metadata or {}).get(MARK.encode())
    start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    footer = data[start:-8]
    if told is None or footer.count(_pair(told)) != 1:
        raise Unreadable("tells nothing of itself")
    footer = footer.replace(_pair(told), _pair(text.encode()))
    return b"".join([memoryview(data)[:start], footer, len(footer).to_bytes(4, "little"), b"PAR1"])


def _pair(value: bytes) -> bytes:
    """Return MARK and a value as a footer has them, each behind its length."""
    length, count = bytearray(), len(value)
    while count > 0x7F:
        length.append(count & 0x7F | 0x80)
        count >>= 7
    length.append(count)
    key = MARK.encode()
    return bytes([len(key)]) + key + b"\x18" + bytes(length) + value  # 0x18: the next field, bytes


def _frame(table: Any) -> pl.DataFrame:
    """Take columns and names alone: what else Arrow's schema tells is not checked by anybody."""
    frame = pl.from_arrow(pa.Table.from_arrays(table.columns, names=table.column_names))
    if not isinstance(frame, pl.DataFrame):
        raise Unreadable("is no table")
    return frame


def names(fields: Iterable[Any]) -> list[str]:
    """Return the names of columns and of what is nested in them; UnicodeDecodeError for no text."""
    found = []
    for one in fields:
        found.append(str(one.name))
        found += names(one.type.field(i) for i in range(one.type.num_fields))
    return found


@contextmanager
def _opened(data: bytes) -> Iterator[Any]:
    """Open a file; whatever reading it raises is told in one line that repeats nothing of it."""
    try:
        yield pq.ParquetFile(pa.BufferReader(data))
    except Unreadable:
        raise
    except (pa.ArrowException, *_FAULTS) as e:
        raise Unreadable(f"is not a complete parquet file ({type(e).__name__})") from None


def check(footer: Any, size: int, rows: int | None = None, most: int = MOST) -> None:
    """Refuse a file by its footer, before anything is decoded.

    Args:
        footer: what Arrow read of it.
        size: bytes of the file.
        rows: how many there must be.
        most: decoded bytes that it may have.

    Raises:
        Unreadable: other rows than there must be, or far too much for a file of its size.
    """
    groups = [footer.row_group(i) for i in range(footer.num_row_groups)]
    counted = [group.num_rows for group in groups]
    if sum(counted) != footer.num_rows or any(n < 0 for n in counted):
        raise Unreadable(f"claims {footer.num_rows:,} rows, its parts {sum(counted):,}")
    if rows is not None and footer.num_rows != rows:
        raise Unreadable(f"claims {footer.num_rows:,} rows, expected {rows:,}")
    declared = sum(max(group.total_byte_size, 0) for group in groups)
    decoded = max(declared, footer.num_rows * footer.num_columns * CELL)
    if decoded > FLOOR and (decoded > RATIO * size or decoded > most):
        raise Unreadable(f"would unfold from {size:,} to {decoded:,} bytes")
