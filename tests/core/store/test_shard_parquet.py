"""How the columns of a shard are encoded: rows come back as they were, at no more bytes."""

import io

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from crowdselect_core.store import safe_parquet
from crowdselect_core.store.shard_parquet import encode

ROWS = 20_000
TOLD = f'{{"rows":{ROWS}}}'


def _table() -> pl.DataFrame:
    rng = np.random.default_rng(0)
    full = rng.normal(size=ROWS)
    return pl.DataFrame(
        {
            "instruction_id": [f"{value:032x}" for value in rng.integers(2**62, size=ROWS)],
            "source": ["data.parquet"] * ROWS,
            "source_row": range(ROWS),
            "full": pl.Series(full, nan_to_null=True).set(pl.Series(full > 2), None),
            "single": full.astype(np.float32).astype(np.float64),
            "grade": full.round(1),
            "drawn": rng.choice(full[:5000], ROWS),
            "same": np.full(ROWS, 0.1),
            "eligible": full > 0,
            "cluster_id": pl.Series([None] * ROWS, dtype=pl.Int64),
        }
    )


def test_rows_come_back_and_the_bytes_are_no_more() -> None:
    table, before = _table(), io.BytesIO()
    table.write_parquet(before, compression="zstd", compression_level=1)
    data = encode(table, TOLD)
    assert safe_parquet.decode(data, rows=ROWS).equals(table)
    assert safe_parquet.read_metadata(data, ROWS) == {"rows": ROWS}
    assert len(data) < 1.05 * len(before.getvalue())
    assert encode(table, TOLD) == data


def test_only_numbers_that_zstd_leaves_as_they_are_stay_uncompressed() -> None:
    group = pq.ParquetFile(io.BytesIO(encode(_table(), TOLD))).metadata.row_group(0)
    columns = [group.column(i) for i in range(group.num_columns)]
    assert [c.path_in_schema for c in columns if c.compression == "UNCOMPRESSED"] == ["full"]


def test_a_shard_tells_another_text_when_it_is_copied() -> None:
    copy = safe_parquet.with_metadata(
        encode(_table(), TOLD), f'{{"rows":{ROWS},"of":"{"b" * 200}"}}'
    )
    assert safe_parquet.read_metadata(copy, ROWS) == {"rows": ROWS, "of": "b" * 200}
    assert safe_parquet.decode(copy, rows=ROWS).equals(_table())


def test_tables_without_rows_and_with_nested_columns_come_back() -> None:
    nothing = _table().clear()
    nested = pl.DataFrame(
        {"id": ["a"], "vector": pl.Series([[1.0, 2.0]], dtype=pl.Array(pl.Float32, 2))}
    )
    for table in (nothing, nested):
        found = safe_parquet.decode(encode(table, "{}"), rows=table.height)
        assert found.equals(table)
        assert found.schema == table.schema
