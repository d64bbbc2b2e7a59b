"""A data set in a bucket that somebody else may write to: a clean refusal, whatever it holds."""

from io import BytesIO
from pathlib import Path

import little
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mutated import mutated

from crowdselect_core.errors import DatasetError, UserError
from crowdselect_core.ingest.listing import list_files
from crowdselect_core.ingest.parquet import ParquetReader
from crowdselect_core.ingest.reader import Leaf


def read(path: Path) -> int:
    """Read all of a parquet file, and return its rows."""
    reader = ParquetReader(list_files(str(path), {}).files)
    leaves = [Leaf("uuid"), *(Leaf(name, little.REWARD) for name in little.NAMES)]
    return sum(
        batch.rows for part in reader.partitions(10) for batch in reader.read(part, leaves)
    ) + len(reader.schema())


def test_changed_bytes_are_refused_in_one_line_or_read(tmp_path: Path) -> None:
    path = little.parquet(tmp_path / "zoo.parquet", little.rows(60), row_group_size=20)
    whole, ended = path.read_bytes(), {"read": 0, "refused": 0, "long": 0}
    assert read(path) == 60 + 2 + len(little.NAMES)
    for seed in range(600):
        path.write_bytes(mutated(whole, seed))
        try:
            read(path)
            ended["read"] += 1
        except UserError as e:
            ended["refused" if "\n" not in str(e) else "long"] += 1
        except KeyError:
            ended["read"] += 1  # a column has another name: the layout would have said so
    assert ended.pop("long") == 0
    assert min(ended.values()) > 50


def test_a_file_that_would_unfold_is_refused(tmp_path: Path) -> None:
    sink = BytesIO()
    pq.write_table(pa.table({"uuid": pa.nulls(200_000_000)}), sink)
    path = tmp_path / "bomb.parquet"
    path.write_bytes(sink.getvalue())
    with pytest.raises(
        DatasetError, match=r"bomb\.parquet: is not a complete parquet file .*would unfold"
    ):
        read(path)


def test_a_column_whose_name_is_no_text_is_refused(tmp_path: Path) -> None:
    path = little.parquet(tmp_path / "zoo.parquet", little.rows(5))
    data = path.read_bytes()
    path.write_bytes(data.replace(b"uuid", b"u\xff\xfed"))
    with pytest.raises(DatasetError, match="is not a complete parquet file"):
        read(path)
