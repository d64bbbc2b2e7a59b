"""How a shard is encoded: as small as zstd makes it, and without zstd where it saves nothing."""

import io
import json

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crowdselect_core.store import safe_parquet, shard_bytes

ROWS = 20_000


def frame_of(values_N: np.ndarray) -> pl.DataFrame:
    """A table as the stage `scores` writes it, with one column of scores."""
    ids = [f"{i * 7919 % ROWS:08x}-{i:012x}" for i in range(ROWS)]
    return pl.DataFrame(
        {
            "instruction_id": ids,
            "source": pl.repeat("zoo.parquet", ROWS, eager=True),
            "source_row": np.arange(ROWS),
            "reward/llama-3.1-8b": values_N,
        }
    )


def zstd_size(frame: pl.DataFrame) -> int:
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd", compression_level=1)
    return len(buffer.getvalue())


def codec(data: bytes, column: int) -> str:
    group = pq.ParquetFile(pa.BufferReader(data)).metadata.row_group(0)
    return str(group.column(column).compression)


NORMAL = np.random.default_rng(0).normal(size=ROWS)
WITH_NULLS = frame_of(NORMAL).with_columns(
    pl.when(pl.col("source_row") % 1000 != 7).then(pl.col("reward/llama-3.1-8b"))
)
KINDS = {
    "noise": (frame_of(NORMAL), "UNCOMPRESSED"),
    "noise with nulls": (WITH_NULLS, "UNCOMPRESSED"),
    "of 32 bits": (frame_of(NORMAL.astype(np.float32).astype(np.float64)), "ZSTD"),
    "some values": (frame_of(np.random.default_rng(1).choice(NORMAL[:5000], ROWS)), "ZSTD"),
    "all the same": (frame_of(np.full(ROWS, 0.1)), "ZSTD"),
}


@pytest.mark.parametrize("kind", list(KINDS))
def test_only_noise_is_left_uncompressed_and_no_table_grows(kind: str) -> None:
    frame, wanted = KINDS[kind]
    data = shard_bytes.encode(frame, json.dumps({"rows": ROWS}))
    assert codec(data, 3) == wanted
    assert [codec(data, i) for i in range(3)] == ["ZSTD"] * 3
    assert len(data) < 1.08 * zstd_size(frame)
    assert safe_parquet.decode(data, rows=ROWS).equals(frame)
    assert shard_bytes.encode(frame, json.dumps({"rows": ROWS})) == data


def test_a_shard_with_noise_tells_another_text_when_it_is_copied() -> None:
    data = shard_bytes.encode(frame_of(NORMAL), json.dumps({"rows": ROWS, "of": "a"}))
    copy = safe_parquet.with_metadata(data, json.dumps({"rows": ROWS, "of": "b" * 200}))
    assert safe_parquet.read_metadata(copy)["of"] == "b" * 200
    assert safe_parquet.decode(copy, rows=ROWS).equals(frame_of(NORMAL))


def test_a_short_table_and_one_of_lists_are_compressed_whole() -> None:
    short = frame_of(NORMAL).head(100)
    assert codec(shard_bytes.encode(short, "{}"), 3) == "ZSTD"
    lists = frame_of(NORMAL).with_columns(other=pl.concat_list("source_row"))
    assert codec(shard_bytes.encode(lists, "{}"), 3) == "ZSTD"
