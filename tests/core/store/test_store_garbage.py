"""Garbage is what no manifest needs and nobody is making; the rest is never touched."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import s3fs
from disks import Disk
from numbers_stage import SPEC, WHOLE, Work
from servers import S3Server

from crowdselect_core.errors import DamagedArtifact, StorageError
from crowdselect_core.store.build import build
from crowdselect_core.store.cells import Cells
from crowdselect_core.store.garbage import Garbage, _recorded, delete, garbage
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.index import cell_key
from crowdselect_core.store.layout import sort_out
from crowdselect_core.store.local import LocalPlace
from crowdselect_core.store.manifest import FILE
from crowdselect_core.store.place import Found, Place, open_place
from crowdselect_core.store.sealed import sealed
from crowdselect_core.store.store import Store
from tasks.sweep import abort_uploads, places_of

OTHER = replace(SPEC, identity={**SPEC.identity, "seed": 8})
LATER = 100.0


def soon() -> float:
    """A moment after everything that is there was written, whatever the server's clock rounds."""
    return time.time() + LATER


def told(found: list[Garbage]) -> list[tuple[str, str, int]]:
    return [(g.why, g.name, len(g.files)) for g in found]


def leave(store: Store, spec: Spec = SPEC, shards: int = 3) -> None:
    """Leave what a build leaves that is killed after some shards."""

    def die(index: int) -> None:
        if index == shards:
            raise KeyError(index)

    with pytest.raises(KeyError):
        build(store, spec, Work(before=die).plan)


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
    for name in names:
        disk.write(name, b"half")
    found = garbage(store.place, soon())
    assert told(found) == [("temporary file", n, 1) for n in sorted(names)]
    list(delete(store.place, found, soon()))
    assert disk.files() == kept


def test_cells_and_selections_and_strangers_never_go(store: Store, disk: Disk) -> None:
    build(store, SPEC, Work().plan)
    for stage in ("generated", "scored"):
        mine = Cells(store, Spec(stage, 1, {"model": "a"}), {"text": pl.String})
        mine.commit([(cell_key(b"1"), "text")])
    strangers = ["notes.txt", "numbers/x/y", f"numbers/{'1' * 64}/notes.txt", "a/b/c/.tmp-12"]
    for name in ["selections/mine/1.json", "selections/mine/.tmp-12", *strangers]:
        disk.write(name, b'{"a": "b"}')
    everything = disk.files()
    for unused in (False, True):
        if unused:
            kept = sealed({"artifacts": {"a": SPEC.folder}})
            disk.write("selections/mine/1.json", kept)
            everything["selections/mine/1.json"] = kept
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
    place = open_place(root)

    def collected() -> None:
        assert garbage(place, before) == []
        # Even what was found before the build began is looked at again before it goes.
        assert list(delete(place, early, before)) == []

    work = Going(store, collected).run()
    assert work.made == [4, 5]
    assert garbage(store.place, soon()) == []
    assert len(disk.files()) == 7, "the mark of a build is gone with it"


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
    assert LocalPlace(str(tmp_path)).create("s/k/file", b"1")
    assert pruned
    assert (folder / "file").read_bytes() == b"1"


# What selections need.


def chain(store: Store, seed: int) -> list[Spec]:
    """Build three artifacts, each from the one before, the last by its identity alone."""
    one = Spec("first", 1, {"seed": seed})
    two = Spec("second", 1, {}, {"first": one.key})
    three = Spec("third", 1, {"dataset": f"zoo/{two.key}"})
    for spec in (one, two, three):
        build(store, spec, Work(shard_rows=60).plan)
    return [one, two, three]


def record(disk: Disk, name: str, value: dict[str, Any]) -> None:
    disk.write(f"selections/mine/{name}.json", sealed(value))


def test_what_a_selection_needs_stays_with_all_it_is_made_from(store: Store, disk: Disk) -> None:
    needed, other = chain(store, 1), chain(store, 2)
    leave(store)
    record(disk, "1", {"at": {"deep": [{"ranking": needed[2].folder}]}, "n": 1, "none": None})
    assert garbage(store.place, time.time() - LATER, unused=True) == []
    found = garbage(store.place, soon(), unused=True)
    assert sorted(told(found)) == sorted(
        [("artifact no selection needs", s.folder, 2) for s in other]
        + [("unfinished artifact", SPEC.folder, 3)]
    )
    list(delete(store.place, found, soon()))
    assert all(store.find(s) is not None for s in needed)
    assert not any(store.find(s) is not None for s in other)
    assert len(disk.files()) == 7


def test_without_a_record_nothing_goes(store: Store, disk: Disk) -> None:
    chain(store, 1)
    with pytest.raises(StorageError, match="no record that names an artifact"):
        garbage(store.place, soon(), unused=True)
    record(disk, "1", {"artifacts": {"a": "nothing/of/ours", "b": "first/abc"}})
    with pytest.raises(StorageError, match="no record that names an artifact"):
        garbage(store.place, soon(), unused=True)
    assert garbage(store.place, soon()) == []


def test_a_record_that_is_damaged_stops_it_whatever_byte_it_is(tmp_path: Path) -> None:
    """A digit of a key that is another would leave the artifact that was meant to go."""
    store = Store(str(tmp_path))
    [one, *_] = chain(store, 1)
    name = tmp_path / "selections/mine/000001.json"
    name.parent.mkdir(parents=True)
    data = sealed({"a": one.folder})
    layout = sort_out(store.place.walk())
    layout.records.append(Found("selections/mine/000001.json", len(data), 0.0))
    for at in range(len(data)):
        name.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(StorageError, match=r"000001\.json .*cannot be told; put it back"):
            _recorded(store.place, layout)
    with pytest.raises(StorageError, match="remove it"):
        garbage(store.place, soon(), unused=True)
    assert store.find(one) is not None


def test_a_pointer_that_is_damaged_or_points_nowhere_stops_it(store: Store, disk: Disk) -> None:
    [one, *_] = chain(store, 1)
    record(disk, "000001", {"a": one.folder})
    record(disk, "latest", {"number": 2})
    with pytest.raises(StorageError, match=r"names selections/mine/000002\.json, which is not"):
        garbage(store.place, soon(), unused=True)
    disk.flip("selections/mine/latest.json", 5)
    with pytest.raises(StorageError, match=r"latest\.json .* flows.reselect --rollback-to"):
        garbage(store.place, soon(), unused=True)


def test_a_needed_manifest_that_is_damaged_stops_it(store: Store, disk: Disk) -> None:
    _, two, three = chain(store, 1)
    record(disk, "1", {"a": three.folder})
    disk.flip(f"{two.folder}/{FILE}")
    with pytest.raises(StorageError, match="run verify --remove first"):
        garbage(store.place, soon(), unused=True)


def test_an_artifact_that_is_gone_is_no_hindrance(store: Store, disk: Disk) -> None:
    _, two, three = chain(store, 1)
    record(disk, "1", {"a": three.folder, "b": f"first/{'0' * 64}"})
    store.forget(two.stage, two.key)
    assert [w for w, *_ in told(garbage(store.place, soon(), unused=True))] == [
        "artifact no selection needs"
    ]


# Uploads.


@pytest.fixture
def begun(s3: S3Server, tmp_path: Path) -> Iterator[tuple[Place, Callable[[str], str]]]:
    """A place in the bucket, and a way to begin an upload there and never end it."""
    place, fs = open_place(f"s3://{s3.bucket}/{tmp_path.name}"), s3.file_system()

    def begin(name: str) -> str:
        key = f"{tmp_path.name}/{name}"
        upload = fs.call_s3("create_multipart_upload", Bucket=s3.bucket, Key=key)["UploadId"]
        fs.call_s3("upload_part", Bucket=s3.bucket, Key=key, UploadId=upload, PartNumber=1,
                   Body=b"x" * 1000)  # fmt: skip
        return str(upload)

    yield place, begin
    for upload in place.uploads():
        place.abort(upload)


@pytest.mark.server
def test_unfinished_uploads_under_the_root_go(
    begun: tuple[Place, Callable[[str], str]], s3: S3Server, tmp_path: Path
) -> None:
    place, begin = begun
    ids = {begin("numbers/a"), begin("zoo/b/c")}
    outside = open_place(f"s3://{s3.bucket}/{tmp_path.name}-beside")
    assert {u.id for u in place.uploads()} == ids
    assert outside.uploads() == []
    assert garbage(place, time.time() - LATER) == []
    found = garbage(place, soon())
    assert told(found) == [("unfinished upload", n, 0) for n in ("numbers/a", "zoo/b/c")]
    assert len(list(delete(place, found, soon()))) == 2
    assert place.uploads() == []
    assert len(list(delete(place, found, soon()))) == 2, "one that is gone is no error"


@pytest.mark.server
def test_uploads_are_listed_over_many_pages(
    begun: tuple[Place, Callable[[str], str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    place, begin = begun
    ids = {begin(f"numbers/{i}") for i in range(5)}
    fs = place._fs  # type: ignore[attr-defined]
    real = type(fs).call_s3

    def small(self: object, method: str, **how: object) -> object:
        return real(self, method, **how, **({"MaxUploads": 2} if "list" in method else {}))

    monkeypatch.setattr(type(fs), "call_s3", small)
    assert {u.id for u in place.uploads()} == ids


@pytest.mark.server
def test_the_sweep_aborts_what_a_crashed_run_left_half_done(
    begun: tuple[Place, Callable[[str], str]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    place, begin = begun
    begin("numbers/a")
    assert abort_uploads(place.root, hours=1) == 0
    assert len(place.uploads()) == 1
    assert abort_uploads(place.root, hours=-1) == 1
    assert place.uploads() == []
    begin("numbers/b")
    with monkeypatch.context() as wrong:
        wrong.setenv("AWS_SECRET_ACCESS_KEY", "MARKED-wrong")
        s3fs.S3FileSystem.clear_instance_cache()
        assert abort_uploads(place.root, hours=-1) == 0
    s3fs.S3FileSystem.clear_instance_cache()
    assert "access denied" in caplog.text
    assert "MARKED" not in caplog.text


def test_the_places_of_crashed_runs_are_those_in_buckets() -> None:
    runs = [
        {"config": {"store": "s3://b/store", "out": "out"}},
        {"config": {"store": "s3://b/store", "out": "s3://b/out"}},
        {"config": "none"},
        {},
    ]
    assert places_of(runs) == ["s3://b/out", "s3://b/store"]
