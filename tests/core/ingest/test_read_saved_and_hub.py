"""Folders that `datasets` saved, and hub ids: which files they are read from."""

import json
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from chain import choose
from datasets import Dataset, DatasetDict, load_dataset_builder
from little import KEYS, parquet, rows

from crowdselect_core.errors import DatasetError
from crowdselect_core.ingest.hub import hub_files, is_hub_id, split_files
from crowdselect_core.ingest.parquet import ParquetReader

TABLE = rows(20)


def saved(folder: Path) -> Path:
    splits = {"train": Dataset.from_list(TABLE), "held_out": Dataset.from_list(rows(6, seed=4))}
    DatasetDict(splits).save_to_disk(folder, num_shards={"train": 2, "held_out": 1})
    return folder


def test_a_split_of_a_saved_dictionary(tmp_path: Path) -> None:
    path = str(saved(tmp_path / "zoo"))
    chosen = choose(tmp_path, dataset={"path": path, "split": "held_out"}, **KEYS | {"budget": 1.0})
    assert chosen.stored("instructions").height == 6
    with pytest.raises(DatasetError, match=r"no split 'heldout', did you mean 'held_out'\?"):
        choose(tmp_path, dataset={"path": path, "split": "heldout"}, **KEYS)
    one = choose(tmp_path / "one", dataset=f"{path}/train", **KEYS)
    assert one.stored("instructions").height == 20


def test_a_selection_that_was_saved_holds_its_rows_alone(tmp_path: Path) -> None:
    """A filtered and shuffled data set keeps an index in memory; saving it resolves that."""
    whole = Dataset.from_list(TABLE)
    whole.select(range(9, -1, -1)).save_to_disk(tmp_path / "zoo")
    chosen = choose(tmp_path, dataset=str(tmp_path / "zoo"), **KEYS | {"budget": 1.0})
    ids = chosen.stored("instructions")["instruction_id"].to_list()
    assert ids == [f"row-{i:03d}" for i in range(9, -1, -1)]


def test_a_saved_folder_that_is_not_whole(tmp_path: Path) -> None:
    folder = saved(tmp_path / "zoo")
    first = sorted((folder / "train").glob("*.arrow"))[0]
    data = first.read_bytes()

    def refused() -> str:
        with pytest.raises(DatasetError) as caught:
            choose(tmp_path, dataset=str(folder), **KEYS)
        assert not (tmp_path / "out").exists()
        return str(caught.value)

    first.write_bytes(data[: len(data) // 2])
    assert "is not a complete Arrow file" in refused()
    first.write_bytes(b"")
    assert first.name in refused()
    first.unlink()
    assert "1 of its 2 data files are gone" in refused()
    first.write_bytes(data)
    state = folder / "train" / "state.json"
    told = state.read_text()
    state.write_text(told[:50])
    assert "its state.json is damaged" in refused()
    state.write_text(json.dumps({"_fingerprint": "x"}))
    assert "expected JSON with the key '_data_files'" in refused()
    state.unlink()
    assert "holds no state.json, so it was not saved whole" in refused()
    (folder / "dataset_dict.json").write_text("[]")
    assert "its dataset_dict.json is damaged" in refused()


def _arrow(path: Path, part: list[Any]) -> pa.Table:
    """Write rows as an Arrow stream file, and return them."""
    path.parent.mkdir(exist_ok=True)
    table = pa.Table.from_pylist(part)
    with pa.ipc.new_stream(path, table.schema) as stream:
        stream.write_table(table)
    return table


def test_arrow_files_of_the_file_format(tmp_path: Path) -> None:
    keys = KEYS | {"budget": 1.0}
    wanted = choose(tmp_path / "1", dataset=str(parquet(tmp_path / "z.parquet", TABLE)), **keys)
    (tmp_path / "d").mkdir()
    pl.DataFrame(TABLE[:9]).write_ipc(tmp_path / "d" / "0.arrow")
    _arrow(tmp_path / "d" / "1.arrow", TABLE[9:])
    assert choose(tmp_path / "2", dataset=str(tmp_path / "d"), **keys).ids == wanted.ids


def test_arrow_files_whose_columns_differ(tmp_path: Path) -> None:
    def refused() -> str:
        with pytest.raises(DatasetError) as caught:
            choose(tmp_path / "out", dataset=str(tmp_path / "d"), **KEYS)
        return str(caught.value)

    whole = _arrow(tmp_path / "d" / "0.arrow", TABLE[:9])
    name = next(n for n in whole.column_names if pa.types.is_string(whole[n].type))
    _arrow(tmp_path / "d" / "1.arrow", [{k: v for k, v in r.items() if k != name} for r in TABLE])
    assert f"1.arrow: its columns differ from those of {tmp_path}/d/0.arrow ({name})" in refused()
    _arrow(tmp_path / "d" / "1.arrow", [r | {name: 1.5} for r in TABLE[9:]])
    assert f"{name}: double and not string" in refused()
    damaged = pa.StringArray.from_buffers(9, *whole[name].combine_chunks().buffers()[1:])
    data = damaged.buffers()[2].to_pybytes().replace(b"r", b"\xff")
    damaged = pa.StringArray.from_buffers(9, damaged.buffers()[1], pa.py_buffer(data))
    place = whole.column_names.index(name)
    table = whole.set_column(place, name, damaged)
    (tmp_path / "d" / "1.arrow").unlink()
    with pa.ipc.new_file(tmp_path / "d" / "0.arrow", table.schema) as file:
        file.write_table(table)
    assert "0.arrow" in refused()


def test_split_files_as_datasets_resolves_a_repository(tmp_path: Path) -> None:
    """A folder laid out as a hub repository stands for one: no network is needed."""
    for number, part in enumerate((TABLE[:12], TABLE[12:])):
        parquet(tmp_path / "repo" / "data" / f"train-{number:05d}-of-00002.parquet", part)
    parquet(tmp_path / "repo" / "data" / "test-00000-of-00001.parquet", rows(3, seed=8))
    builder = load_dataset_builder(str(tmp_path / "repo"))
    files = split_files("org/name", "train", builder.config.data_files)
    assert [f.path.rsplit("/", 1)[-1] for f in files] == [
        "train-00000-of-00002.parquet", "train-00001-of-00002.parquet",
    ]  # fmt: skip
    assert sum(p.rows for p in ParquetReader(files).partitions(100)) == 20
    assert len(split_files("org/name", "test", builder.config.data_files)) == 1
    with pytest.raises(DatasetError, match=r"org/name: has no split 'tran', did you mean 'train'"):
        split_files("org/name", "tran", builder.config.data_files)


def test_files_that_are_not_read_from_a_hub(tmp_path: Path) -> None:
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo" / "train.csv").write_text("id,a\n1,2\n")
    builder = load_dataset_builder(str(tmp_path / "repo"))
    with pytest.raises(DatasetError, match="pass the revision refs/convert/parquet"):
        split_files("org/name", "train", builder.config.data_files)


def test_a_hub_id_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets.config

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DatasetError) as caught:
        choose(tmp_path, dataset="no-such-org/no-such-set", **KEYS)
    message = str(caught.value)
    assert message.startswith("no-such-org/no-such-set: no such path, and the hub could not be")
    assert "check the name, the network, HF_TOKEN and HF_HUB_OFFLINE" in message
    assert "\n" not in message


def test_a_hub_id_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DatasetError, match=r"-e '\.\[hub\]'"):
        hub_files("org/name", None, "train", None)


@pytest.mark.parametrize("failure", [RuntimeError(""), ValueError("first\nsecond"), KeyError("x")])
def test_any_failure_of_the_hub_is_one_line(
    failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr("datasets.load_dataset_builder", fail)
    with pytest.raises(DatasetError) as caught:
        hub_files("org/name", None, "train", None)
    assert type(failure).__name__ in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "is_one"),
    [
        ("Magpie-Align/Magpie-100K-Generator-Zoo", True),
        ("org/name.v2", True),
        ("data/zoo.parquet", False),  # a file that is not there, and no call to a hub
        ("data/zoo.jsonl", False),
        ("name", False),
        ("./org/name", False),
        ("/org/name", False),
        ("a/b/c", False),
        ("org/*", False),
        ("s3://org/name", False),
    ],
)
def test_what_looks_like_a_hub_id(path: str, is_one: bool) -> None:
    assert is_hub_id(path) is is_one
