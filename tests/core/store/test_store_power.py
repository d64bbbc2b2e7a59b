"""What a power loss may take: nothing that a call has returned for, and no name before its heir."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.backend.local import LocalBackend
from crowdselect_core.store.cache.call_cache import CallCache
from crowdselect_core.store.cache.key_index import cell_key
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.names import TEMPORARY

Event = tuple[str, str]


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[Event]:
    """The calls that count, in order: (fsync, link, rename or unlink, the name it is about)."""
    seen: list[Event] = []

    def watch(call: str, name: Callable[..., str]) -> None:
        real = getattr(os, call)

        def watched(*args: Any, **options: Any) -> Any:
            about = name(*args)
            result = real(*args, **options)
            seen.append((call, about))
            return result

        monkeypatch.setattr(os, call, watched)

    watch("fsync", lambda number: _plain(Path(f"/proc/self/fd/{number}").readlink()))
    watch("link", lambda _, target: Path(target).name)
    watch("replace", lambda _, target: Path(target).name)
    watch("unlink", lambda path, **_: _plain(Path(path)))
    return seen


def _plain(path: Path) -> str:
    return "temporary" if path.name.startswith(TEMPORARY) else path.name


def test_a_new_file_is_on_the_disk_and_then_its_name(tmp_path: Path, events: list[Event]) -> None:
    place = LocalBackend(str(tmp_path / "root"))
    assert place.create_exclusive("stage/key", b"1")
    # Every folder that was made gets its name onto the disk, in the one above it.
    assert events == [
        ("fsync", tmp_path.name), ("fsync", "root"), ("fsync", "temporary"), ("link", "key"),
        ("fsync", "stage"), ("unlink", "temporary"),
    ]  # fmt: skip
    events.clear()
    assert not place.create_exclusive("stage/key", b"2")
    assert events == [("fsync", "temporary"), ("fsync", "stage"), ("unlink", "temporary")]


def test_a_file_that_is_replaced(tmp_path: Path, events: list[Event]) -> None:
    place = LocalBackend(str(tmp_path))
    place.replace("key", b"1")
    assert events == [("fsync", "temporary"), ("replace", "key"), ("fsync", tmp_path.name)]
    events.clear()
    (tmp_path / "mine").write_bytes(b"1")
    place.upload("key", tmp_path / "mine")
    assert events == [("fsync", "temporary"), ("replace", "key"), ("fsync", tmp_path.name)]


def test_the_mark_of_a_result_comes_last_and_goes_first(
    tmp_path: Path, events: list[Event]
) -> None:
    (tmp_path / "mark").write_bytes(b"old")
    LocalBackend(str(tmp_path)).replace_all({"a": b"1", "b": b"2", "mark": b"3"})
    here = ("fsync", tmp_path.name)
    assert events == [
        ("fsync", "temporary"), ("fsync", "temporary"), ("fsync", "temporary"), ("unlink", "mark"),
        here, ("replace", "a"), ("replace", "b"), here, ("replace", "mark"), here,
    ]  # fmt: skip


def test_merged_cells_have_their_name_before_the_small_ones_lose_theirs(
    tmp_path: Path, events: list[Event]
) -> None:
    cells = CallCache(Store(str(tmp_path)), Spec("generated", 1, {"m": 1}), {"text": pl.String})
    for i in range(3):
        cells.commit([(cell_key(b"%d" % i), "text")])
    small = {p.name for p in tmp_path.glob("*/*/cells-*")}
    events.clear()
    cells.merge(all_small=True)
    [merged] = {p.name for p in tmp_path.glob("*/*/cells-*")}
    gone = [events.index(("unlink", name)) for name in small]
    assert len(gone) == 3
    named = events.index(("link", merged))
    assert ("fsync", cells.spec.key) in events[named : min(gone)]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_that_refuses_it_for_folders_is_no_hindrance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    real = os.fsync

    def refusing(file: int) -> None:
        if Path(f"/proc/self/fd/{file}").readlink().is_dir():
            raise OSError(number, "no")
        real(file)

    monkeypatch.setattr(os, "fsync", refusing)
    assert LocalBackend(str(tmp_path)).create_exclusive("a/b", b"1")
