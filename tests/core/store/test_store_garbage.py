"""Garbage is what no manifest needs and nobody is making; the rest is never touched."""

import errno
import os
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

import polars as pl
import pytest
from disks import Disk
from leftovers import LATER, leave, soon, told
from numbers_stage import SPEC, WHOLE, Work

from crowdselect_core.errors import DamagedArtifact
from crowdselect_core.store import heartbeat
from crowdselect_core.store.admin.gc import delete, garbage
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.backend.local import LocalBackend
from crowdselect_core.store.backend.open import open_backend
from crowdselect_core.store.build import build
from crowdselect_core.store.cache.call_cache import CallCache
from crowdselect_core.store.cache.key_index import cell_key
from crowdselect_core.store.checksummed_json import dumps_checksummed
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.names import FILE

OTHER = replace(SPEC, identity={**SPEC.identity, "seed": 8})


def test_a_whole_store_has_none(store: Store, disk: Disk) -> None:
    build(store, SPEC, Work().plan)
    assert garbage(store.place, soon()) == []


def test_an_unfinished_artifact_goes_when_it_is_old(store: Store, disk: Disk) -> None:
    build(store, OTHER, Work().plan)
    kept = disk.files()
    leave(store)
    assert garbage(store.place, time.time() - LATER) == []
    found = garbage(store.place, soon())
    assert told(found) == [("unfinished artifact", SPEC.folder, 3)]
    assert len(disk.files()) == len(kept) + 3, "nothing goes before it is told to"
    assert told(list(delete(store.place, found, soon()))) == told(found)
    assert disk.files() == kept
    assert build(store, SPEC, Work().plan).frame().equals(WHOLE)


def test_shards_that_no_manifest_names_go(store: Store, disk: Disk) -> None:
    leave(store)
    build(store, SPEC, Work(shard_rows=15).plan)
    found = garbage(store.place, soon())
    assert told(found) == [("shards no manifest names", SPEC.folder, 3)]
    list(delete(store.place, found, soon()))
    assert len(disk.files()) == 5
    artifact = store.find(SPEC)
    assert artifact is not None
    assert artifact.frame().equals(WHOLE)


def test_temporary_files_go_wherever_they_lie(store: Store, disk: Disk) -> None:
    build(store, SPEC, Work().plan)
    kept = disk.files()
    names = [f"{SPEC.folder}/.tmp-0a1b", f"generated/{'0' * 64}/.tmp-0a1b", ".probe-0a1b", ".tmp-9"]
    names.append(f"scored/{'0' * 64}/asking-{'0' * 32}-7.txt")  # of a run that died
    names.append("selections/mine-2/.tmp-0a1b")
    for name in names:
        disk.write(name, b"half")
    found = garbage(store.place, soon())
    assert told(found) == [("temporary file", n, 1) for n in sorted(names)]
    list(delete(store.place, found, soon()))
    assert disk.files() == kept


def test_a_sign_of_life_that_was_renewed_since_it_was_listed_stays(tmp_path: Path) -> None:
    place = open_backend(str(tmp_path))
    mark, left = (f"{SPEC.folder}/.tmp-building-{n * 32}" for n in "01")
    for name in (mark, left):
        place.create_exclusive(name, b"")
        os.utime(tmp_path / name, (0, 0))
    before = time.time() - LATER
    found = garbage(place, before)
    assert [g.name for g in found] == [mark, left]
    place.replace(mark, b"")
    assert [g.name for g in delete(place, found, before)] == [left]
    assert (tmp_path / mark).exists()


def test_cells_and_selections_and_strangers_never_go(store: Store, disk: Disk) -> None:
    build(store, SPEC, Work().plan)
    for stage in ("generated", "scored"):
        mine = CallCache(store, Spec(stage, 1, {"model": "a"}), {"text": pl.String})
        mine.commit([(cell_key(b"1"), "text")])
    strangers = ["notes.txt", "numbers/x/y", f"numbers/{'1' * 64}/notes.txt", "a/b/c/.tmp-12"]
    for name in ["selections/mine/000001.json", "selections/mine/notes.txt", *strangers]:
        disk.write(name, b'{"a": "b"}')
    everything = disk.files()
    for unused in (False, True):
        if unused:
            kept = dumps_checksummed({"artifacts": {"a": SPEC.folder}})
            disk.write("selections/mine/000001.json", kept)
            everything["selections/mine/000001.json"] = kept
        found = garbage(store.place, soon(), unused=unused)
        assert found == []
        assert disk.files() == everything


def test_a_folder_is_spared_while_its_newest_file_is_young(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    leave(store)
    old = time.time() - 3600
    shards = sorted(tmp_path.glob("*/*/part-*"))
    for path in shards:
        os.utime(path, (old, old))
    assert told(garbage(store.place, old + 60)) == [("unfinished artifact", SPEC.folder, 3)]
    os.utime(shards[1], (old + 120, old + 120))
    assert garbage(store.place, old + 60) == []


class Going:
    """A build that goes on from found shards, and what happens while it does."""

    def __init__(self, store: Store, during: Callable[[], None]) -> None:
        self.store, self.during = store, during

    def run(self) -> Work:
        work = Work(before=lambda index: self.during() if index == 4 else None)
        assert build(self.store, SPEC, work.plan).frame().equals(WHOLE)
        return work


def test_a_build_that_goes_on_is_never_robbed(store: Store, disk: Disk, root: str) -> None:
    leave(store, shards=4)
    before = max(f.modified for f in store.place.walk()) + 0.5
    time.sleep(max(0.0, before + 0.6 - time.time()))  # a server may keep whole seconds only
    assert told(garbage(store.place, before)) == [("unfinished artifact", SPEC.folder, 4)]
    early = garbage(store.place, before)
    place = open_backend(root)

    def collected() -> None:
        assert garbage(place, before) == []
        # Even what was found before the build began is looked at again before it goes.
        assert list(delete(place, early, before)) == []

    work = Going(store, collected).run()
    assert work.made == [4, 5]
    assert garbage(store.place, soon()) == []
    assert len(disk.files()) == 7, "the mark of a build is gone with it"


def test_a_fresh_build_is_never_robbed(store: Store, disk: Disk, root: str) -> None:
    """Its first shards are older than the limit when the last ones are made."""
    place, looked = open_backend(root), []

    def collected(index: int) -> None:
        if index == 5:
            for file in place.walk():
                if "/part-" in file.name and root.startswith("/"):
                    os.utime(f"{root}/{file.name}", (0, 0))
            before = max(f.modified for f in place.walk() if "building-" in f.name)
            looked.append(garbage(place, before))

    work = Work(before=collected)
    assert build(store, SPEC, work.plan).frame().equals(WHOLE)
    assert looked == [[]]


def test_the_mark_of_a_build_is_renewed_while_a_shard_takes_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "RENEWED", 0.05)
    seen = []

    def wait(index: int) -> None:
        if index:
            return
        [mark] = tmp_path.glob("*/*/.tmp-building-*")
        os.utime(mark, (0, 0))
        end = time.monotonic() + 120
        while mark.stat().st_mtime == 0 and time.monotonic() < end:
            time.sleep(0.01)
        seen.append(mark.stat().st_mtime)

    build(Store(str(tmp_path)), SPEC, Work(before=wait).plan)
    assert seen[0] > 0
    assert not list(tmp_path.glob("*/*/.tmp-*"))


def test_a_mark_is_renewed_after_a_renewal_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "RENEWED", 0.05)
    real, marks = LocalBackend.replace, count()

    def replaced(self: LocalBackend, name: str, data: bytes) -> None:
        if ".tmp-building-" in name and next(marks) == 1:
            raise OSError(errno.ESTALE, "stale file handle")
        real(self, name, data)

    monkeypatch.setattr(LocalBackend, "replace", replaced)
    end = time.monotonic() + 120
    with heartbeat.heartbeat(LocalBackend(str(tmp_path)), SPEC.folder):
        [mark] = tmp_path.glob("*/*/.tmp-building-*")
        os.utime(mark, (0, 0))
        while mark.stat().st_mtime == 0 and time.monotonic() < end:
            time.sleep(0.01)
        assert mark.stat().st_mtime > 0
        assert next(marks) > 2


def test_a_fresh_build_that_is_robbed_all_the_same_commits_no_manifest(
    store: Store, disk: Disk
) -> None:
    def rob(index: int) -> None:
        if index == 5:
            disk.remove(next(n for n in disk.files() if "/part-00001" in n))

    with pytest.raises(DamagedArtifact, match=r"1 finished shards \(part-00001 ...\) vanished"):
        build(store, SPEC, Work(before=rob).plan)
    assert f"{SPEC.folder}/{FILE}" not in disk.files()
    work = Work()
    assert build(store, SPEC, work.plan).frame().equals(WHOLE)
    assert work.made == [1]


def test_a_build_that_fails_at_once_leaves_no_folder(tmp_path: Path) -> None:
    leave(Store(str(tmp_path)), shards=0)
    assert not list(tmp_path.glob("*/*"))


def test_a_build_that_fails_or_stops_takes_its_mark_away(store: Store, disk: Disk) -> None:
    leave(store, shards=4)
    leave(store, shards=4)
    assert len(disk.files()) == 4


def test_a_build_whose_shards_are_taken_all_the_same_says_so_and_mends(
    store: Store, disk: Disk
) -> None:
    leave(store, shards=4)

    def rob(index: int) -> None:
        if index == 5:
            disk.remove(next(n for n in disk.files() if "/part-00001" in n))

    with pytest.raises(DamagedArtifact, match=r"1 finished shards \(part-00001 ...\) vanished"):
        build(store, SPEC, Work(before=rob).plan)
    assert store.find(SPEC) is None
    work = Work()
    assert build(store, SPEC, work.plan).frame().equals(WHOLE)
    assert work.made == [1]


def test_an_artifact_that_is_committed_meanwhile_is_not_taken(store: Store, disk: Disk) -> None:
    leave(store)
    found = garbage(store.place, soon())
    build(store, SPEC, Work().plan)
    assert list(delete(store.place, found, soon())) == []
    assert len(disk.files()) == 7


def test_a_folder_whose_manifest_is_damaged_is_left_to_verify(store: Store, disk: Disk) -> None:
    leave(store)
    build(store, SPEC, Work(shard_rows=15).plan)
    disk.flip(f"{SPEC.folder}/{FILE}")
    assert garbage(store.place, soon()) == []


def test_an_emptied_folder_is_pruned_and_a_full_one_is_not(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    leave(store)
    leave(store, OTHER)
    (tmp_path / OTHER.folder / "notes.txt").write_text("mine")
    list(delete(store.place, garbage(store.place, soon()), soon()))
    assert not (tmp_path / SPEC.folder).exists()
    assert [p.name for p in (tmp_path / OTHER.folder).iterdir()] == ["notes.txt"]


def test_a_write_survives_that_its_folder_is_pruned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, folder, pruned = Path.open, tmp_path / "s" / "k", []

    def opened(self: Path, *args: object, **how: object) -> object:
        if self.parent == folder and not pruned:
            pruned.append(folder.rmdir())
        return real(self, *args, **how)  # type: ignore[arg-type, call-overload]

    monkeypatch.setattr(Path, "open", opened)
    assert LocalBackend(str(tmp_path)).create_exclusive("s/k/file", b"1")
    assert pruned
    assert (folder / "file").read_bytes() == b"1"
