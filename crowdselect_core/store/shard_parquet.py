"""How a shard's table is encoded: each column as it reads and writes fastest at about its size.

A stored table is read more often than it is written, and zstd is most of either. Ids and scores in
full precision hardly get smaller by it, so each column is told by its first rows.
"""

import io
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from crowdselect_core.store.safe_parquet import MARK

# zstd's own default, 3, takes three times as long on ids and numbers, and saves nothing there.
LEVEL = 1

SAMPLE = 4096  # rows that a column is told by
# A column of numbers of whose bytes zstd leaves more, and of whose values more differ from all
# others, is not compressed: neither zstd nor a dictionary would make it much smaller.
RAW, DISTINCT = 0.92, 0.99


def encode(frame: pl.DataFrame, text: str) -> bytes:
    """Return a table as parquet bytes that tell `text` of themselves."""
    buffer = io.BytesIO()
    if any(dtype.is_nested() for dtype in frame.dtypes):
        frame.write_parquet(
            buffer, compression="zstd", compression_level=LEVEL, metadata={MARK: text}
        )
        return buffer.getvalue()
    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    with pq.ParquetWriter(buffer, table.schema, **_options(frame.head(SAMPLE))) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({MARK: text})
    return buffer.getvalue()


def _options(sample: pl.DataFrame) -> dict[str, Any]:
    """Return how the columns are written."""
    repeated = [c.name for c in sample if _repeats(c)]
    encodings: dict[str, str] = {}
    raw = set()
    for column in sample:
        if column.name in repeated:
            continue
        if column.dtype.is_integer():  # mostly numbers of rows, which grow from row to row
            encodings[column.name] = "DELTA_BINARY_PACKED"
        elif column.dtype in (pl.String, pl.Binary):  # zstd takes half as long without the lengths
            encodings[column.name] = "DELTA_LENGTH_BYTE_ARRAY"
        elif column.dtype.is_float() and _is_noise(column.drop_nulls()):
            raw.add(column.name)
    return {
        "compression": {c.name: "none" if c.name in raw else "zstd" for c in sample},
        "compression_level": {c.name: LEVEL for c in sample if c.name not in raw},
        "use_dictionary": repeated,
        "column_encoding": encodings,
        "write_statistics": False,  # nobody looks for rows by them
    }


def _repeats(column: pl.Series) -> bool:
    """Return whether most values of a column stand in it several times."""
    return column.dtype != pl.Boolean and column.n_unique() <= len(column) // 2


def _is_noise(column: pl.Series) -> bool:
    """Return whether neither bytes nor values repeat in a column, such as a computed score."""
    if column.n_unique() <= DISTINCT * len(column):
        return False
    data = column.to_numpy().tobytes()
    return len(pa.Codec("zstd", LEVEL).compress(data)) > RAW * len(data)
