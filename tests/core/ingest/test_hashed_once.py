"""A whole selection reads a local data set once for its hash, however often it opens it."""

import os
from pathlib import Path

import pytest
from chain import choose
from little import KEYS, parquet, rows

from crowdselect_core.ingest.files import DataFile
from crowdselect_core.util import file_hash


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were hashed; no other way to their whole bytes is open."""
    found: list[str] = []
    real = file_hash._hashed

    def hashed(path: Path) -> str:
        found.append(path.name)
        return real(path)

    def whole(_: DataFile) -> None:
        raise AssertionError("a parquet file is read whole for its hash alone")

    monkeypatch.setattr(file_hash, "_hashed", hashed)
    monkeypatch.setattr(DataFile, "blocks", whole)
    return found


def written(path: Path, seed: int, seconds: int) -> Path:
    """Write a zoo that seems to have been written a while ago."""
    made = parquet(path, rows(30, seed))
    os.utime(made, (seconds, seconds))
    return made


@pytest.mark.parametrize("clusters", [0, 3])
def test_a_selection_hashes_each_file_once(
    tmp_path: Path, hashed: list[str], clusters: int
) -> None:
    for seed in (0, 1):
        table = [one | {"uuid": f"{seed}-{one['uuid']}"} for one in rows(20, seed)]
        os.utime(parquet(tmp_path / "data" / f"{seed}.parquet", table), (1000, 1000))
    choose(tmp_path, dataset=str(tmp_path / "data"), **KEYS | {"clusters": clusters})
    assert sorted(hashed) == ["0.parquet", "1.parquet"]
    choose(tmp_path, dataset=str(tmp_path / "data"), **KEYS | {"budget": 4})
    assert len(hashed) == 2


def test_a_file_that_changed_in_between_is_hashed_and_read_again(
    tmp_path: Path, hashed: list[str]
) -> None:
    zoo = written(tmp_path / "zoo.parquet", 0, 1000)
    first = choose(tmp_path, dataset=str(zoo), **KEYS)
    written(zoo, 1, 2000)
    second = choose(tmp_path, dataset=str(zoo), **KEYS)
    assert len(hashed) == 2
    assert first.inputs.instructions.key != second.inputs.instructions.key
