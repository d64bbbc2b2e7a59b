"""The same rows in every container: the same selection, the same training file, to the byte."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from chain import choose
from datasets import Dataset, DatasetDict
from little import KEYS, NAMES, REWARD, SCHEMA, Row, jsonl, parquet, rows

TABLE = rows(30)
LARGE = pa.schema(
    [
        ("uuid", pa.large_string()),
        ("instruction", pa.large_string()),
        *((n, pa.struct([("content", pa.large_string()), (REWARD, pa.float64())])) for n in NAMES),
    ]
)


def one_parquet(folder: Path) -> str:
    return str(parquet(folder / "zoo.parquet", TABLE))


def row_groups(folder: Path) -> str:
    return str(parquet(folder / "zoo.parquet", TABLE, row_group_size=4))


def large_strings(folder: Path) -> str:
    return str(parquet(folder / "zoo.parquet", TABLE, LARGE))


def dictionary_texts(folder: Path) -> str:
    table = pa.Table.from_pylist(TABLE, schema=SCHEMA)
    for place in (0, 1):
        name = SCHEMA.names[place]
        table = table.set_column(place, name, table.column(name).dictionary_encode())
    for name in NAMES:
        structs = table.column(name).combine_chunks()
        fields = [structs.field(i) for i in range(structs.type.num_fields)]
        packed = pa.StructArray.from_arrays(
            [fields[0].dictionary_encode(), *fields[1:]], [f.name for f in structs.type]
        )
        table = table.set_column(table.schema.get_field_index(name), name, packed)
    pq.write_table(table, folder / "zoo.parquet")
    assert "dictionary" in str(pq.read_schema(folder / "zoo.parquet").field(NAMES[0]).type)
    return str(folder / "zoo.parquet")


def polars_frame(folder: Path) -> str:
    frame = pl.from_arrow(pa.Table.from_pylist(TABLE, schema=SCHEMA))
    assert isinstance(frame, pl.DataFrame)
    frame.write_parquet(folder / "zoo.parquet", compression="zstd", row_group_size=7)
    return str(folder / "zoo.parquet")


def parquet_folder(folder: Path) -> str:
    parquet(folder / "zoo" / "train-00000.parquet", TABLE[:11])
    parquet(folder / "zoo" / "train-00001.parquet", TABLE[11:12])
    parquet(folder / "zoo" / "train-00002.parquet", TABLE[12:], row_group_size=5)
    (folder / "zoo" / "README.md").write_text("not data")
    (folder / "zoo" / ".hidden.parquet").write_text("not data")
    return str(folder / "zoo")


def parquet_glob(folder: Path) -> str:
    parquet(folder / "zoo" / "train-1.parquet", TABLE[:20])
    parquet(folder / "zoo" / "train-2.parquet", TABLE[20:])
    parquet(folder / "zoo" / "test-1.parquet", rows(5, seed=9))
    return str(folder / "zoo" / "train-*.parquet")


def other_column_order(folder: Path) -> str:
    """The second file has its columns, and the fields of its structs, in another order."""
    parquet(folder / "zoo" / "1.parquet", TABLE[:20])
    turned = [
        pa.field(f.name, pa.struct(list(f.type)[::-1])) if pa.types.is_struct(f.type) else f
        for f in reversed(list(SCHEMA))
    ]
    parquet(folder / "zoo" / "2.parquet", TABLE[20:], pa.schema(turned))
    return str(folder / "zoo")


def strange_name(folder: Path) -> str:
    return str(parquet(folder / "zoo [v1]?*.parquet", TABLE))


def json_lines(folder: Path) -> str:
    return str(jsonl(folder / "zoo.jsonl", TABLE))


def json_lines_dirty(folder: Path) -> str:
    """Missing keys for nulls, NaN and Infinity for missing scores, blank lines, CRLF, a BOM."""
    lines: list[str] = []
    spell = iter(["NaN", "Infinity", "-Infinity"] * len(TABLE))
    for one in TABLE:
        lean: Row = dict(one)
        for name in NAMES:
            lean[name] = {k: v for k, v in one[name].items() if v is not None}
            if one[name][REWARD] is None and one["uuid"] > "row-010":
                lean[name][REWARD] = float(next(spell))
        lines += [json.dumps(lean), ""]
    text = "\ufeff" + "\r\n".join(lines)
    assert "NaN" in text
    assert "Infinity" in text
    (folder / "zoo.ndjson").write_bytes(text.encode())
    return str(folder / "zoo.ndjson")


def json_lines_folder(folder: Path) -> str:
    jsonl(folder / "zoo" / "a.jsonl", TABLE[:13])
    jsonl(folder / "zoo" / "b.jsonl", TABLE[13:])
    return str(folder / "zoo")


def saved(folder: Path) -> str:
    Dataset.from_list(TABLE).save_to_disk(folder / "zoo", num_shards=3)
    return str(folder / "zoo")


def saved_dictionary(folder: Path) -> str:
    splits = {"train": Dataset.from_list(TABLE), "test": Dataset.from_list(rows(4, seed=5))}
    DatasetDict(splits).save_to_disk(folder / "zoo")
    return str(folder / "zoo")


def file_url(folder: Path) -> str:
    return f"file://{parquet(folder / 'zoo.parquet', TABLE)}"


def memory_url(folder: Path) -> str:
    fs = fsspec.filesystem("memory")
    for name, part in (("1", TABLE[:10]), ("2", TABLE[10:])):
        path = parquet(folder / f"{name}.parquet", part)
        fs.pipe(f"/{folder.name}/zoo/{name}.parquet", path.read_bytes())
    return f"memory://{folder.name}/zoo/*.parquet"


def memory_json_lines(folder: Path) -> str:
    path = jsonl(folder / "zoo.jsonl", TABLE)
    fsspec.filesystem("memory").pipe(f"/{folder.name}/zoo.jsonl", path.read_bytes())
    return f"memory://{folder.name}/zoo.jsonl"


CONTAINERS: list[Callable[[Path], str]] = [
    row_groups, large_strings, dictionary_texts, polars_frame, parquet_folder, parquet_glob,
    other_column_order, strange_name, json_lines, json_lines_dirty, json_lines_folder, saved,
    saved_dictionary, file_url, memory_url, memory_json_lines,
]  # fmt: skip


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the one parquet file gives."""
    folder = tmp_path_factory.mktemp("wanted")
    chosen = choose(folder, dataset=one_parquet(folder), **KEYS)
    return {
        "selection": chosen.selection,
        "ranking": chosen.ranking,
        "train": (chosen.out / "train.jsonl").read_bytes(),
        "counts": chosen.inputs.scores.counts,
    }


@pytest.mark.parametrize("write", CONTAINERS, ids=lambda f: f.__name__)
def test_every_container_gives_the_same_selection(
    write: Callable[[Path], str], tmp_path: Path, wanted: dict[str, Any]
) -> None:
    chosen = choose(tmp_path, dataset=write(tmp_path), shard_rows=7, workers=2, **KEYS)
    assert chosen.selection.equals(wanted["selection"])
    assert chosen.ranking.equals(wanted["ranking"])
    assert (chosen.out / "train.jsonl").read_bytes() == wanted["train"]
    assert chosen.inputs.scores.counts == wanted["counts"]


@pytest.mark.parametrize("write", CONTAINERS, ids=lambda f: f.__name__)
def test_limit_is_the_first_rows(write: Callable[[Path], str], tmp_path: Path) -> None:
    path = write(tmp_path)
    chosen = choose(tmp_path, dataset=path, limit=17, shard_rows=5, **KEYS | {"budget": 1.0})
    assert chosen.stored("instructions")["instruction_id"].to_list() == [
        f"row-{i:03d}" for i in range(17)
    ]
    assert chosen.ranking.height == 17
    only = choose(tmp_path / "cut", dataset=str(parquet(tmp_path / "cut.parquet", TABLE[:17])),
                  **KEYS | {"budget": 1.0})  # fmt: skip
    assert only.selection.equals(chosen.selection)


def test_a_limit_above_the_rows_takes_them_all(tmp_path: Path) -> None:
    chosen = choose(tmp_path, dataset=one_parquet(tmp_path), limit=1000, **KEYS)
    assert chosen.ranking.height == len(TABLE)


@pytest.mark.parametrize("write", [one_parquet, json_lines, saved], ids=lambda f: f.__name__)
def test_the_bytes_and_not_their_place_are_the_identity(
    write: Callable[[Path], str], tmp_path: Path
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    one = choose(tmp_path / "1", dataset=write(here), **KEYS)
    other = choose(tmp_path / "2", dataset=write(there), **KEYS)
    assert one.inputs.selection.key == other.inputs.selection.key


def test_columns_may_have_other_names(tmp_path: Path, wanted: dict[str, Any]) -> None:
    renamed = []
    for one in TABLE:
        fresh: Row = {"my id": one["uuid"], "question.text": one["instruction"], "uuid": "x"}
        for name in NAMES:
            fields = dict(one[name])
            fresh[name] = {"answer": fields.pop("content"), **fields}
        renamed.append(fresh)
    names = {"instruction_id": "my id", "instruction": "question.text", "content": "answer"}
    for container in ("jsonl", "parquet"):
        path = tmp_path / f"zoo.{container}"
        if container == "jsonl":
            jsonl(path, renamed)
        else:
            pq.write_table(pa.Table.from_pylist(renamed), path)
        chosen = choose(tmp_path / container, dataset={"path": str(path), "columns": names}, **KEYS)
        assert chosen.selection.equals(wanted["selection"])
        assert (chosen.out / "train.jsonl").read_bytes() == wanted["train"]


def test_the_crowd_of_a_data_set_may_be_part_of_it(tmp_path: Path) -> None:
    """Models of no interest are not read and do not count."""
    keys = KEYS | {"crowd": KEYS["crowd"][:2]}
    chosen = choose(tmp_path, dataset=one_parquet(tmp_path), **keys)
    lean = [{k: v for k, v in one.items() if not k.startswith("bee")} for one in TABLE]
    schema = pa.schema([f for f in SCHEMA if not f.name.startswith("bee")])
    other = choose(tmp_path / "lean", dataset=str(parquet(tmp_path / "b.parquet", lean, schema)),
                   **keys)  # fmt: skip
    assert chosen.selection.equals(other.selection)
    assert set(chosen.selection["response_model"]) <= {"ant-1b", "ant-7b"}
