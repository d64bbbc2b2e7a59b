"""Parquet bytes that somebody else may have written: looked at before they are decoded.

The right sha256 says that bytes are those their name promises, not that they are harmless: who may
write to a bucket may name what he likes. So the footer is read first, and a file that would unfold
to far more than it weighs, or holds other columns than its reader knows, is refused.
"""

import io
import json
from collections.abc import Mapping
from typing import Any

import polars as pl

from crowdselect_core.errors import first_line

FLOOR = 512 << 20  # decoded bytes that any file may have
RATIO = 200  # times its own size that a larger one may unfold to
MOST = 16 << 30  # decoded bytes that no file may have
CELL = 8  # decoded bytes that a value of a column takes at least
MARK = "crowdselect"  # key of what a file tells of itself

Schema = Mapping[str, type[pl.DataType] | pl.DataType]


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

    Args:
        data: the whole file.
        columns: those that are read; all of them if None.
        rows: how many there must be.
        schema: the columns that there must be, with their types.

    Raises:
        Unreadable: no parquet, other rows or columns than there must be, or far too much of them.
    """
    check_size(data, rows)
    try:
        if schema is not None:
            found = pl.read_parquet_schema(io.BytesIO(data))
            if found != dict(pl.Schema(schema)):
                raise Unreadable(f"has the columns {list(found)}, expected {list(schema)}")
        frame = pl.read_parquet(io.BytesIO(data), columns=columns)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, MemoryError) as e:
        raise Unreadable(f"is no whole parquet file ({_cause(e)})") from None
    if rows is not None and frame.height != rows:
        raise Unreadable(f"has {frame.height:,} rows, expected {rows:,}")
    return frame


def told(data: bytes) -> dict[str, Any]:
    """Return what a file tells of itself beside its table.

    Raises:
        Unreadable: no parquet, or it tells nothing.
    """
    try:
        metadata = pl.read_parquet_metadata(io.BytesIO(data))
        found = json.loads(metadata[MARK])
    except KeyError:
        return {}
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError) as e:
        raise Unreadable(f"is no whole parquet file ({_cause(e)})") from None
    except RecursionError:
        raise Unreadable("tells what is nested too deeply") from None
    if not isinstance(found, dict):
        raise Unreadable("tells what is no object")
    return found


def check_size(data: bytes, rows: int | None = None) -> None:
    """Refuse a file by its footer, before anything is decoded.

    Raises:
        Unreadable: no parquet, other rows than there must be, or far too much to be decoded.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        footer = pq.ParquetFile(pa.BufferReader(data)).metadata
        groups = [footer.row_group(i) for i in range(footer.num_row_groups)]
        declared = sum(group.total_byte_size for group in groups)
        counted = sum(group.num_rows for group in groups)
    except (pa.ArrowException, OSError, MemoryError, OverflowError) as e:
        raise Unreadable(f"is no whole parquet file ({_cause(e)})") from None
    if counted != footer.num_rows or any(group.num_rows < 0 for group in groups):
        raise Unreadable(f"claims {footer.num_rows:,} rows, its parts {counted:,}")
    if rows is not None and footer.num_rows != rows:
        raise Unreadable(f"claims {footer.num_rows:,} rows, expected {rows:,}")
    if why := too_large(len(data), declared, footer.num_rows * footer.num_columns):
        raise Unreadable(why)


def too_large(size: int, declared: int, values: int) -> str:
    """Say why a file of `size` bytes would unfold to too much ('' where it would not)."""
    decoded = max(declared, values * CELL)
    if decoded <= FLOOR or (decoded <= RATIO * size and decoded <= MOST):
        return ""
    return f"would unfold from {size:,} to {decoded:,} bytes"


def _cause(error: BaseException) -> str:
    """Name an error in one line without repeating what a file says."""
    return first_line(error, 80) if isinstance(error, OSError) else type(error).__name__
