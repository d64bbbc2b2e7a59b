"""A shard's table as a parquet file: zstd, but not over columns of numbers that do not compress.

The digits of a computed score are noise, and zstd takes longer over them than all else that writing
takes, to save 4 %. Which columns are noise is seen in a sample of the rows.
"""

import io
from collections.abc import Collection

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from crowdselect_core.store.safe_parquet import MARK

# zstd's own default, 3, takes three times as long on ids and numbers, and saves nothing there.
LEVEL = 1
SAMPLE = 4096  # rows, from the middle
LEFT = 0.93  # of its bytes that zstd leaves of a sample of noise, at least: 7 % is all it can cost
DISTINCT = 0.99  # of its values that differ: a dictionary would not pay either


def encode(frame: pl.DataFrame, told: str) -> bytes:
    """Return the file of a table; the same table gives the same bytes.

    Args:
        frame: the rows.
        told: what the file tells of itself, as JSON.
    """
    noise = _noise(frame)
    if noise:
        return _by_arrow(frame, noise, told)
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd", compression_level=LEVEL, metadata={MARK: told})
    return buffer.getvalue()


def _by_arrow(frame: pl.DataFrame, noise: Collection[str], told: str) -> bytes:
    """Write by Arrow, which takes a codec for each column; nobody asks for statistics of noise."""
    others = [name for name in frame.columns if name not in noise]
    repeated = _repeated(frame, others)
    counted = [n for n in others if n not in repeated and frame.schema[n].is_integer()]
    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(
        sink,
        table.schema,
        compression={name: "none" if name in noise else "zstd" for name in frame.columns},
        compression_level=dict.fromkeys(others, LEVEL),
        use_dictionary=repeated,
        column_encoding=dict.fromkeys(counted, "DELTA_BINARY_PACKED"),
        write_statistics=others,
    ) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({MARK: told})
    return bytes(sink.getvalue())


def _noise(frame: pl.DataFrame) -> list[str]:
    """Return the columns of floats in which neither bytes nor values repeat.

    None in a short table, where it does not matter, and in one with nested columns, whose leaves
    have names of their own in a file.
    """
    if frame.height < SAMPLE or any(kind.is_nested() for kind in frame.dtypes):
        return []
    numbers = frame.select(pl.col(pl.Float64))
    if not numbers.width:
        return []
    values_SC = _sample(numbers).to_numpy(order="fortran")  # NaN for null: it is repeated bytes
    sorted_SC = np.sort(values_SC, axis=0)
    distinct_C = (sorted_SC[1:] != sorted_SC[:-1]).mean(axis=0)
    codec = pa.Codec("zstd", compression_level=LEVEL)
    return [
        name
        for name, values_S, distinct in zip(numbers.columns, values_SC.T, distinct_C, strict=True)
        if distinct > DISTINCT
        and len(codec.compress(values_S.tobytes(), asbytes=True)) > LEFT * values_S.nbytes
    ]


def _sample(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.slice((frame.height - SAMPLE) // 2, SAMPLE)


def _repeated(frame: pl.DataFrame, names: Collection[str]) -> list[str]:
    """Return the columns whose values stand twice or more, on the average."""
    sample = _sample(frame)
    return [name for name in names if sample[name].n_unique() <= SAMPLE / 2]
