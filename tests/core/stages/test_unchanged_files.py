"""Instructions that are carried over from unchanged files: what a whole reading gives, unread."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from crowdselect_core.config.crowd import CrowdModel
from crowdselect_core.config.dataset import DatasetConfig
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import DatasetError
from crowdselect_core.ingest.dataset import Dataset
from crowdselect_core.stages.refs import Ref
from crowdselect_core.stages.select import instructions
from crowdselect_core.store.artifacts import Artifact, Store
from crowdselect_core.store.build import build

MODEL = CrowdModel(name="m", family="f", size=1)
Look = Callable[..., Artifact]


def line(number: int, text: str = "", id_: str = "") -> str:
    return json.dumps(
        {"id": id_ or f"r{number}", "instruction": text or f"Say {number}.", "m": {"s": number}}
    )


def write(folder: Path, **files: list[str]) -> None:
    folder.mkdir(exist_ok=True)
    for name, lines in files.items():
        (folder / f"{name}.jsonl").write_text("".join(f"{text}\n" for text in lines))


def config(folder: Path, store: str) -> SelectConfig:
    return SelectConfig(
        dataset=DatasetConfig(path=str(folder)), crowd=[MODEL], reward_models=["s"],
        store=str(folder.parent / store), shard_rows=3,
    ).resolved()  # fmt: skip


@pytest.fixture
def read_files(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files whose ids were read, in order."""
    seen: list[str] = []
    rows = Dataset.rows

    def noted(self: Dataset, part: object) -> object:
        seen.append(self.table.source(part.file).rsplit("/", 1)[-1])  # type: ignore[attr-defined]
        return rows(self, part)  # type: ignore[arg-type]

    monkeypatch.setattr(Dataset, "rows", noted)
    return seen


def look(folder: Path, earlier: Artifact | None = None, store: str = "store") -> Artifact:
    """Read the instructions, from the files alone or with an earlier look at hand."""
    own = config(folder, store)
    there = Store(own.store)
    ref = Ref.of(earlier) if earlier else None
    return build(there, instructions.spec(own), instructions.plan(own, there, ref))


def same(folder: Path, earlier: Artifact) -> Artifact:
    """Look again with the earlier look at hand, and hold it against a whole reading."""
    whole = look(folder, store="other")
    quick = look(folder, earlier)
    assert quick.manifest == whole.manifest  # bytes, counts, facts and key
    return quick


def test_only_what_is_new_is_read(tmp_path: Path, read_files: list[str]) -> None:
    data = tmp_path / "data"
    write(data, b=[line(i) for i in range(5)], c=[line(i) for i in range(5, 9)])
    first = look(data)
    write(data, a=[line(20)], d=[line(21), line(22)])
    read_files.clear()
    again = look(data, first)
    assert set(read_files) == {"a.jsonl", "d.jsonl"}
    assert again.manifest == look(data, store="other").manifest
    assert again.rows == 12


@pytest.mark.parametrize("change", ["renamed", "removed", "grown", "cut", "swapped", "twins"])
def test_the_rows_are_those_of_a_whole_reading(tmp_path: Path, change: str) -> None:
    data = tmp_path / "data"
    write(data, b=[line(i) for i in range(5)], c=[line(i) for i in range(5, 9)])
    first = look(data)
    if change == "renamed":
        (data / "b.jsonl").rename(data / "z.jsonl")
    if change == "removed":
        (data / "b.jsonl").unlink()
    if change == "grown":
        write(data, c=[line(i) for i in range(5, 13)])
    if change == "cut":
        write(data, c=[line(i) for i in range(6, 8)])
    if change == "swapped":
        write(data, c=[line(i) for i in range(5)], b=[line(i) for i in range(5, 9)])
    if change == "twins":
        write(data, d=[line(i) for i in range(5, 9)])
    same(data, first)


@pytest.mark.parametrize("change", ["repeated", "first", "kept"])
def test_repeats_are_dropped_as_a_whole_reading_drops_them(tmp_path: Path, change: str) -> None:
    data = tmp_path / "data"
    write(data, b=[line(0), line(1)], c=[line(2), line(3)])
    if change in ("first", "kept"):
        write(data, c=[line(2), line(1), line(3)])  # row 1 stands twice
    first = look(data)
    if change == "repeated":
        write(data, a=[line(3), line(4)])  # the new file comes first: its row 3 is the one kept
    if change == "first":
        (data / "b.jsonl").unlink()  # row 1 of c is now the only one
    if change == "kept":
        write(data, d=[line(5)])
    found = same(data, first).frame()["instruction_id"].to_list()
    assert sorted(found) == sorted(set(found))


def test_a_contradiction_between_old_and_new_files_is_told(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write(data, b=[line(0), line(1)])
    first = look(data)
    write(data, c=[line(1, "Something else.")])
    with pytest.raises(DatasetError, match=r"r1.*different content"):
        look(data, first)


def test_another_layout_is_read_anew(tmp_path: Path, read_files: list[str]) -> None:
    data = tmp_path / "data"
    write(data, b=[line(0), line(1)])
    first = look(data)
    own = config(data, "store")
    own = own.model_copy(update={"limit": 1})
    store = Store(own.store)
    read_files.clear()
    built = build(store, instructions.spec(own), instructions.plan(own, store, Ref.of(first)))
    assert built.rows == 1
    assert read_files
