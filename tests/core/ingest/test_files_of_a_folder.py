"""No file is passed over in silence: it is read, or named as left out, or the run is refused."""

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from little import jsonl, parquet, row, rows

from crowdselect_core.config.dataset import DatasetConfig
from crowdselect_core.errors import DatasetError
from crowdselect_core.ingest.dataset import Dataset
from crowdselect_core.ingest.open import notes_on_files, open_reader


def ids(path: Path | str, **keys: Any) -> list[str]:
    """Read the ids of a data set."""
    config = DatasetConfig(path=str(path), **keys)
    dataset = Dataset(open_reader(config), config, [], [])
    return [i for p in dataset.partitions(1000) for r in dataset.rows(p) for i in r.ids]


def notes(path: Path | str, **keys: Any) -> list[str]:
    return notes_on_files(DatasetConfig(path=str(path), **keys))


def refusal(path: Path | str, **keys: Any) -> str:
    with pytest.raises(DatasetError) as caught:
        ids(path, **keys)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def packed(path: Path, data: bytes) -> Path:
    """Write a file packed as its suffix says."""
    if path.name.lower().endswith(".gz"):
        data = gzip.compress(data[: len(data) // 2]) + gzip.compress(data[len(data) // 2 :])
    else:
        data = pa.Codec("zstd").compress(data, asbytes=True)
    path.write_bytes(data)
    return path


TABLE = rows(3000)
IDS = [one["uuid"] for one in TABLE]
LINES = "".join(json.dumps(one) + "\n" for one in TABLE).encode()
CSV = "id,ant-1b\n" + "".join(f"{i},1\n" for i in IDS)


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".JSONL.GZ", ".jsonl.zst", ".json.gz", ".NDJSON"])
def test_packed_lines_are_read_from_any_place(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"z{suffix}"
    path.write_bytes(LINES) if suffix == ".NDJSON" else packed(path, LINES)
    assert ids(path) == IDS
    reader = open_reader(DatasetConfig(path=str(path)))
    assert [p.rows for p in reader.partitions(1000)] == [1000, 1000, 1000]
    assert reader.place(2500) == f"{path}, line 2501"


@pytest.mark.parametrize("suffix", [".csv.gz", ".csv.zst", ".CSV"])
def test_packed_csv(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"z{suffix}"
    path.write_bytes(CSV.encode()) if suffix == ".CSV" else packed(path, CSV.encode())
    assert ids(path) == IDS


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_packed_file_that_was_cut(suffix: str, tmp_path: Path) -> None:
    path = packed(tmp_path / f"z.jsonl{suffix}", LINES)
    path.write_bytes(path.read_bytes()[:-20])
    assert "file, it ends too early or is damaged" in refusal(path)


def test_packed_and_plain_parts_are_one_data_set(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(LINES)
    packed(tmp_path / "b.jsonl.gz", LINES.replace(b'"row-', b'"two-'))
    assert len(ids(tmp_path)) == 6000


def test_a_hub_cache_snapshot_is_nothing_but_links(tmp_path: Path) -> None:
    blob = parquet(tmp_path / "blobs" / "0123abc", TABLE[:5])
    snapshot = tmp_path / "snapshots" / "c0ffee"
    (snapshot / "data").mkdir(parents=True)
    (snapshot / "data" / "train-00000-of-00001.parquet").symlink_to(os.path.relpath(
        blob, snapshot / "data"))  # fmt: skip
    (snapshot / "README.md").symlink_to("../../blobs/readme")
    assert ids(snapshot / "data") == IDS[:5]
    assert ids(f"{snapshot}/**/*.parquet") == IDS[:5]
    assert ids(snapshot) == IDS[:5]
    (snapshot / "data" / "test.parquet").symlink_to("nowhere")
    assert "test.parquet: is a link that leads to no file" in refusal(snapshot / "data")


def test_what_describes_data_is_none(tmp_path: Path) -> None:
    jsonl(tmp_path / "part.jsonl", TABLE[:4])
    for name in ("dataset_infos.json", "dataset_info.json", "README.md", "_SUCCESS",
                 "._part.jsonl", ".hidden.jsonl"):  # fmt: skip
        (tmp_path / name).write_text("{}")
    assert ids(tmp_path) == IDS[:4]
    (told,) = notes(tmp_path)
    assert told.startswith("5 files are left out: ")
    for name in ("._part.jsonl", ".hidden.jsonl", "README.md", "dataset_info.json"):
        assert name in told
    assert notes(tmp_path / "part.jsonl") == []


@pytest.mark.parametrize("inner", ["_temporary/0", ".ipynb_checkpoints", "day=1/_tmp"])
def test_a_glob_does_not_go_into_hidden_folders(inner: str, tmp_path: Path) -> None:
    parquet(tmp_path / "day=1" / "a.parquet", TABLE[:4])
    parquet(tmp_path / inner / "b.parquet", TABLE[4:6])
    assert ids(f"{tmp_path}/**/*.parquet") == IDS[:4]
    if not inner.startswith("."):  # a glob matches names with a dot only where it says so
        assert "1 file is left out" in notes(f"{tmp_path}/**/*.parquet")[0]
    assert ids(f"{tmp_path}/{inner}/*.parquet") == IDS[4:6]


def test_a_tree_that_is_not_looked_through_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crowdselect_core.ingest.subfolders.MOST_FOLDERS", 3)
    jsonl(tmp_path / "zoo.jsonl", rows(3))
    for number in range(3):
        (tmp_path / f"{number}").mkdir(exist_ok=True)
        (tmp_path / "1" / (f"{number}" * 64)).mkdir(parents=True)  # a store's, not looked into
    assert len(ids(tmp_path)) == 3
    jsonl(tmp_path / "3" / "zoo.jsonl", rows(3))
    told = refusal(tmp_path)
    assert "has more than 3 subfolders, so not all were looked at" in told
    assert "pass a glob" in told
    assert len(ids(tmp_path / "*.jsonl")) == 3


def test_subfolders_with_data_are_named(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", TABLE[:2])
    parquet(tmp_path / "b" / "c" / "d.parquet", TABLE[2:4])
    told = refusal(tmp_path)
    assert "its subfolders hold 1 further data file(s) (b/c/d.parquet)" in told
    assert f"pass '{tmp_path}/**/*.parquet' to read them too" in told
    assert f"or '{tmp_path}/*.parquet' for the others alone" in told
    assert ids(f"{tmp_path}/*.parquet") == IDS[:2]
    assert ids(f"{tmp_path}/**/*.parquet") == IDS[:4]


def test_a_folder_laid_out_as_on_the_hub(tmp_path: Path) -> None:
    """README.md and data/train-00000-of-00002.parquet: the folder stands for them."""
    (tmp_path / "README.md").write_text("a card")
    (tmp_path / "images").mkdir()
    for number, name in enumerate(["train-00000-of-00002", "train-00001-of-00002", "test"]):
        parquet(tmp_path / "data" / f"{name}.parquet", TABLE[2 * number : 2 * number + 2])
    assert sorted(ids(tmp_path)) == IDS[:6]
    assert ids(f"{tmp_path}/", split="train") == IDS[:4]
    assert "has no split 'dev'" in refusal(tmp_path, split="dev")
    told = notes(tmp_path, split="train")
    assert told == ["2 files are left out: README.md, data/test.parquet"]
    parquet(tmp_path / "more" / "a.parquet", TABLE[6:8])
    assert "its subfolders hold 4 further data file(s)" in refusal(tmp_path)
    parquet(tmp_path / "data" / "deep" / "a.parquet", TABLE[8:9])
    assert "further data file(s)" in refusal(tmp_path)


def test_files_of_a_split(tmp_path: Path) -> None:
    for number, name in enumerate(
        ["train-00000-of-00002", "train-00001-of-00002", "validation-00000-of-00001", "Test"]
    ):
        parquet(tmp_path / f"{name}.parquet", TABLE[2 * number : 2 * number + 2])
    assert ids(tmp_path, split="train") == IDS[:4]
    assert ids(tmp_path, split="validation") == IDS[4:6]
    assert ids(tmp_path, split="test") == IDS[6:8]
    assert len(ids(tmp_path)) == 8
    assert "the files of 3 splits are read (test, train, validation)" in notes(tmp_path)[0]
    assert "3 files are left out" in notes(tmp_path, split="test")[0]
    assert "has no split 'dev2'" in refusal(tmp_path, split="dev2")
    assert ids(tmp_path / "Test.parquet", split="test") == IDS[6:8]
    assert "is one file and has no split 'train'" in refusal(
        tmp_path / "Test.parquet", split="train"
    )
    other = jsonl(tmp_path / "o" / "all.jsonl", TABLE[:3])
    assert ids(other.parent, split="train") == IDS[:3]  # files that name no split are train
    assert "its files name none" in refusal(other.parent, split="test")


def array(path: Path, **how: Any) -> Path:
    path.write_text(json.dumps(TABLE, **how), "utf-8")
    return path


@pytest.mark.parametrize("how", [{}, {"indent": 2}, {"ensure_ascii": False, "indent": 0}])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_a_json_array(how: dict[str, Any], bom: str, tmp_path: Path) -> None:
    path = array(tmp_path / "alpaca_data.json", **how)
    path.write_text(f"{bom} \r\n{path.read_text('utf-8')}\n", "utf-8")
    assert ids(path) == IDS
    odd = [*TABLE[:2], TABLE[2] | {"uuid": 5}]
    path.write_text(json.dumps(odd, indent=1), "utf-8")
    line = 1 + next(
        n for n, text in enumerate(path.read_text().splitlines()) if '"uuid": 5' in text
    )
    assert f"a number in line {line - 1}, expected text" in refusal(path)  # where its object begins


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[\n{"a": 1},\n{"a" 2}]', "line 3: element 2 is no JSON from '2}]' on"),
        ('[\n{"a": 1},\n5]', "line 3: element 2 is '5]', expected an object"),
        ('[\n{"a": 1}\n', "line 3: expected ',', the end of the file comes there"),
        ('[\n{"a": 1},\n{"a": "x', "line 3: the file ends in the middle of element 2"),
        ('[{"a": 1}] x', "line 1: after the end of the array comes 'x'"),
        ('[{"a": 1} {"a": 2}]', "line 1: expected ',', '{\"a\": 2}]' comes there"),
        ("[]", "has no rows"),
        ("", "is empty (0 bytes)"),
        ('{"a": 1}\n{"b": ', "line 2: is no JSON (it ends before its object does"),
        ("<html>", "line 1: is no JSON (from character 1 on: '<html>')"),
    ],
)
def test_damaged_json_names_the_line(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "d.json").write_text(text)
    assert told in refusal(tmp_path / "d.json")


@pytest.mark.parametrize(
    ("encoding", "told"),
    [
        ("utf-16", "is encoded as UTF-16 (little-endian), expected UTF-8"),
        ("utf-16-be", "is encoded as UTF-16BE (without a byte order mark)"),
        ("utf-16-le", "is encoded as UTF-16LE (without a byte order mark)"),
        ("utf-32", "is encoded as UTF-32"),
        ("latin-1", "is no UTF-8; the file may be in Latin-1"),
    ],
)
@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "jsonl.gz"])
def test_another_encoding_is_named(encoding: str, told: str, kind: str, tmp_path: Path) -> None:
    table = [row(i, [1, 2, 3, 4], instruction="Où est le café ?") for i in range(3)]
    text = {
        "csv": 'id,instruction\na,"ok"\nb,Où\n',
        "json": json.dumps(table, ensure_ascii=False, indent=1),
    }.get(kind, "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in table))
    path = tmp_path / f"d.{kind}"
    data = text.encode(encoding)
    packed(path, data) if kind.endswith("gz") else path.write_bytes(data)
    message = refusal(path)
    assert told in message
    assert "iconv -f " in message
    if encoding == "latin-1":
        assert "line " in message


@pytest.mark.parametrize("data", [b"\xef\xbb\xbf%s", b"%s"])
def test_byte_order_marks_and_carriage_returns(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_bytes(data % LINES.replace(b"\n", b"\r\n\r\n"))
    assert ids(tmp_path / "d.jsonl") == IDS


def test_a_parquet_file_by_another_name_is_told(tmp_path: Path) -> None:
    parquet(tmp_path / "d.jsonl", TABLE[:2])
    assert "is a parquet file and no text" in refusal(tmp_path / "d.jsonl")


def test_a_split_s_word_may_stand_elsewhere_in_the_names(tmp_path: Path) -> None:
    for name, part in {"data-train": TABLE[:3], "data-test": TABLE[3:5]}.items():
        parquet(tmp_path / f"{name}.parquet", part)
    assert ids(tmp_path, split="train") == IDS[:3]
    assert ids(tmp_path, split="test") == IDS[3:5]
    told = refusal(tmp_path, split="validation")
    assert "has no split 'validation' (splits: test, train)" in told
