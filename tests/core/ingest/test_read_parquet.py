"""Parquet: only what is asked for is read, by row group; files that do not fit are refused."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from chain import choose
from little import CROWD, KEYS, NAMES, OTHER, REWARD, SCHEMA, jsonl, parquet, row, rows

from crowdselect_core.config.crowd import CrowdModel
from crowdselect_core.config.dataset import DatasetConfig
from crowdselect_core.errors import DatasetError
from crowdselect_core.ingest.dataset import Dataset
from crowdselect_core.ingest.open import open_reader
from crowdselect_core.ingest.reader import Leaf
from crowdselect_core.tables import score_column

MODELS = [CrowdModel(**m) for m in CROWD]


def opened(path: Path, **keys: Any) -> Dataset:
    config = DatasetConfig(path=str(path), **keys)
    return Dataset(open_reader(config), config, MODELS, [REWARD])


def all_scores(dataset: Dataset, shard_rows: int = 10) -> np.ndarray:
    parts = dataset.partitions(shard_rows)
    return np.concatenate([s[REWARD] for p in parts for _, s in dataset.scores(p)])


def chunk_bytes(path: Path, wanted: str) -> list[tuple[int, int]]:
    """Return (start, end) of the column chunks whose path ends in `wanted`."""
    found = []
    told = pq.read_metadata(path)
    for group in range(told.num_row_groups):
        for i in range(told.num_columns):
            column = told.row_group(group).column(i)
            if column.path_in_schema.endswith(wanted):
                start = column.dictionary_page_offset or column.data_page_offset
                found.append((start, start + column.total_compressed_size))
    return found


def test_scores_are_read_without_the_texts(tmp_path: Path) -> None:
    """The bytes of every text are overwritten: who reads one fails, and the scores do not."""
    table = rows(40)
    path = parquet(tmp_path / "zoo.parquet", table, row_group_size=10)
    data = bytearray(path.read_bytes())
    texts = chunk_bytes(path, ".content") + chunk_bytes(path, "instruction")
    assert len(texts) == 4 * 5
    for start, end in texts:
        data[start:end] = b"\xff" * (end - start)
    path.write_bytes(data)

    dataset = opened(path)
    expected = [[one[n][REWARD] for n in NAMES] for one in table]
    np.testing.assert_array_equal(all_scores(dataset), np.array(expected, dtype=float))
    ids = [i for p in dataset.partitions(10) for r in dataset.rows(p) for i in r.ids]
    assert ids == [one["uuid"] for one in table]
    part = dataset.partitions(10)[0]
    for read in (
        lambda: list(dataset.instructions(part)),
        lambda: dataset.complete(part, "ant-1b"),
        lambda: dataset.texts(part, {Leaf("ant-1b", "content"): np.array([0])}),
    ):
        with pytest.raises(DatasetError, match="cannot be read"):
            read()


def test_a_partition_reads_its_own_row_groups(tmp_path: Path) -> None:
    """The score bytes of all other row groups are overwritten."""
    table = rows(40)
    path = parquet(tmp_path / "zoo.parquet", table, row_group_size=10)
    data = bytearray(path.read_bytes())
    for place, (start, end) in enumerate(chunk_bytes(path, f".{REWARD}")):
        if place // len(NAMES) != 2:
            data[start:end] = b"\xff" * (end - start)
    path.write_bytes(data)
    dataset = opened(path)
    part = dataset.partitions(10)[2]
    assert (part.first_row, part.rows) == (20, 10)
    [(_, found)] = dataset.scores(part)
    expected = [[one[n][REWARD] for n in NAMES] for one in table[20:30]]
    np.testing.assert_array_equal(found[REWARD], np.array(expected, dtype=float))


@pytest.mark.parametrize("shard_rows", [1, 9, 10, 11, 25, 1000])
def test_partitions_cover_every_row_once(shard_rows: int, tmp_path: Path) -> None:
    parquet(tmp_path / "zoo" / "a.parquet", rows(33), row_group_size=10)
    parquet(tmp_path / "zoo" / "b.parquet", [])
    parquet(tmp_path / "zoo" / "c.parquet", rows(12, seed=1), row_group_size=5)
    dataset = opened(tmp_path / "zoo")
    parts = dataset.partitions(shard_rows)
    assert [p.first_row for p in parts] == list(np.cumsum([0, *(p.rows for p in parts)])[:-1])
    assert sum(p.rows for p in parts) == 45
    assert all_scores(dataset, shard_rows).shape == (45, 4)


MEMORY = """
import resource, sys
sys.path[:0] = {path!r}
from crowdselect_core.config.dataset import DatasetConfig
from crowdselect_core.ingest.dataset import Dataset
from crowdselect_core.ingest.open import open_reader
from crowdselect_core.config.crowd import CrowdModel
config = DatasetConfig(path=sys.argv[1])
crowd = [CrowdModel(name="m", family="f", size=1)]
dataset = Dataset(open_reader(config), config, crowd, ["r"])
rows = bytes_seen = 0
for part in dataset.partitions(1000):
    dataset.complete(part, "m")
    for _, texts in dataset.instructions(part):
        rows += len(texts)
        bytes_seen += sum(map(len, texts))
print(rows, bytes_seen, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)  # KiB on Linux
"""


def test_memory_is_bounded_by_the_row_group(tmp_path: Path) -> None:
    """256 MB of texts in 32 row groups take little more memory than 8 MB in one."""
    group = 2048
    texts = pa.array([f"{i:08d}" + "abcdefghijklmnop" * 124 for i in range(group)])
    cells = pa.StructArray.from_arrays([texts, pa.array(np.zeros(group))], ["content", "r"])
    table = pa.table({"id": pa.array(range(group)), "instruction": texts, "m": cells})

    def peak(groups: int) -> int:
        path = tmp_path / f"{groups}.parquet"
        with pq.ParquetWriter(path, table.schema, use_dictionary=False) as writer:
            for _ in range(groups):
                writer.write_table(table)
        script = MEMORY.format(path=[p for p in sys.path if p] + [str(Path.cwd())])
        told = subprocess.run(
            [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
        )
        count, seen, megabytes = map(int, told.stdout.split())
        assert (count, seen) == (groups * group, groups * group * (8 + 16 * 124))
        return megabytes

    assert peak(32) < peak(1) + 100


def test_a_text_that_is_no_utf8_is_told(tmp_path: Path) -> None:
    cells = pa.array([b"fine", b"\xff\xfe"]).cast(pa.binary())
    broken = pa.Array.from_buffers(pa.string(), 2, cells.buffers())
    structs = {
        n: pa.StructArray.from_arrays([broken, pa.array([1.0, 2.0])], ["content", REWARD])
        for n in NAMES
    }
    path = tmp_path / "zoo.parquet"
    pq.write_table(pa.table({"id": ["a", "b"], "instruction": ["x", "y"], **structs}), path)
    with pytest.raises(DatasetError, match=r"zoo\.parquet: cannot be read: .*UTF8"):
        choose(tmp_path, dataset=str(path), **KEYS | {"budget": 1, "weights": "1,1,0"})


def test_columns_whose_dotted_names_run_into_each_other(tmp_path: Path) -> None:
    """'a' with field 'b.c', and 'a.b' with field 'c', have the same dotted path."""
    crowd = [
        {"name": "a", "family": "f", "size": 1},
        {"name": "a.b", "family": "f", "size": 2},
        {"name": "a.b.c", "family": "f", "size": 3},
    ]
    table = pa.table(
        {
            "id": ["x", "y"],
            "a.b": pa.array([{"c": 5.0, "b.c": 1.0}, {"c": 6.0, "b.c": 2.0}]),
            "a": pa.array([{"b.c": 3.0}, {"b.c": 4.0}]),
            "a.b.c": pa.array([{"b.c": 7.0}, {"b.c": 9.0}]),
        }
    )
    pq.write_table(table, tmp_path / "zoo.parquet")
    chosen = choose(tmp_path, dataset=str(tmp_path / "zoo.parquet"), crowd=crowd,
                    reward_models=["b.c"], budget=2)  # fmt: skip
    stored = chosen.stored("scores")
    columns = [score_column("b.c", name) for name in ("a", "a.b", "a.b.c")]
    assert [stored[c].to_list() for c in columns] == [[3, 4], [1, 2], [7, 9]]


def without(field: str) -> pa.Schema:
    """The schema without one field of the first model's struct."""
    inner = pa.struct([f for f in SCHEMA.field(NAMES[0]).type if f.name != field])
    return SCHEMA.set(2, pa.field(NAMES[0], inner))


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        (without("content"), NAMES[0]),
        (SCHEMA.remove(1), "instruction"),
        (SCHEMA.append(pa.field("more", pa.string())), "more"),
        (SCHEMA.set(0, pa.field("uuid", pa.int64())), "uuid: int64 and not string"),
    ],
)
def test_files_with_different_columns_are_refused(
    schema: pa.Schema, told: str, tmp_path: Path
) -> None:
    """Else a score that one file lacks would be read from another model's column."""
    parquet(tmp_path / "zoo" / "1.parquet", rows(5))
    parquet(tmp_path / "zoo" / "2.parquet", [], schema)
    with pytest.raises(DatasetError) as caught:
        choose(tmp_path, dataset=str(tmp_path / "zoo"), **KEYS)
    message = str(caught.value)
    assert "2.parquet: its columns differ from those of" in message
    assert told in message


def test_a_file_without_any_value_in_a_column_fits_the_others(tmp_path: Path) -> None:
    """pandas writes a column that is null throughout without a type."""
    table = rows(8)
    empty = pa.struct([("content", pa.null()), (REWARD, pa.null()), (OTHER, pa.null())])
    for name in NAMES[:2]:
        table[0][name] = None
    table[0][NAMES[2]] = {"content": None, REWARD: None, OTHER: None}
    first = SCHEMA.set(2, pa.field(NAMES[0], pa.null())).set(4, pa.field(NAMES[2], empty))
    parquet(tmp_path / "zoo" / "1.parquet", table[:1], first)
    parquet(tmp_path / "zoo" / "2.parquet", table[1:])
    whole = jsonl(tmp_path / "whole.jsonl", table)
    keys = KEYS | {"budget": 3}
    split = choose(tmp_path, dataset=str(tmp_path / "zoo"), **keys)
    assert split.ranking.equals(choose(tmp_path / "b", dataset=str(whole), **keys).ranking)


def test_numbers_of_every_width(tmp_path: Path) -> None:
    """int8, half, float, decimal and integer ids are all numbers; ids become their digits."""
    types = [pa.int8(), pa.float16(), pa.float32(), pa.decimal128(25, 2)]
    values = [[1, 2, None], np.array([1.5, 2.5, 3.5], np.float16), [0.25, None, 4], [1, 2, 3]]
    columns = {
        n: pa.StructArray.from_arrays([pa.array(v).cast(t)], [REWARD])
        for n, t, v in zip(NAMES, types, values, strict=True)
    }
    path = tmp_path / "zoo.parquet"
    pq.write_table(pa.table({"id": pa.array([7, -1, 2**40]), **columns}), path)
    found = all_scores(opened(path))
    nan = np.nan
    np.testing.assert_array_equal(
        found, [[1, 1.5, 0.25, 1], [2, 2.5, nan, 2], [nan, 3.5, 4, 3]]
    )  # fmt: skip
    chosen = choose(tmp_path, dataset=str(path), **KEYS | {"budget": 3})
    assert sorted(chosen.ids) == ["-1", str(2**40), "7"]


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    table = pa.table([pa.array(["a"]), pa.array(["b"])], names=["id", "id"])
    pq.write_table(table, tmp_path / "zoo.parquet")
    with pytest.raises(DatasetError, match=r"two columns have the name 'id'"):
        choose(tmp_path, dataset=str(tmp_path / "zoo.parquet"), **KEYS)


def test_a_null_struct_is_a_missing_answer_and_score(tmp_path: Path) -> None:
    table = [row(1, [1, 2, 3, 4]), row(2, [4, 3, 2, 1])]
    table[0]["ant-7b"] = None
    chosen = choose(
        tmp_path, dataset=str(parquet(tmp_path / "z.parquet", table)), **KEYS | {"budget": 2}
    )
    metrics = chosen.stored("metrics")
    assert metrics["n_scores"].to_list() == [3, 4]
    assert chosen.inputs.scores.counts["missing_scores"] == 1
