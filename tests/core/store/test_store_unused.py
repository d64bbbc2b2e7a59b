"""What selections need stays, with all it is made from; the rest may go when nobody is at work."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import polars as pl
import pytest
from disks import Disk
from leftovers import LATER, leave, soon, told
from numbers_stage import SPEC, Work

from crowdselect_core.errors import StorageError
from crowdselect_core.store.admin.gc import _recorded, delete, garbage
from crowdselect_core.store.admin.inventory import sort_out
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.backend.base import FileInfo
from crowdselect_core.store.build import build
from crowdselect_core.store.cache.call_cache import CallCache
from crowdselect_core.store.checksummed_json import dumps_checksummed
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.names import FILE


def chain(store: Store, seed: int) -> list[Spec]:
    """Build three artifacts, each from the one before, the last by its identity alone."""
    one = Spec("first", 1, {"seed": seed})
    two = Spec("second", 1, {}, {"first": one.key})
    three = Spec("third", 1, {"dataset": f"zoo/{two.key}"})
    for spec in (one, two, three):
        build(store, spec, Work(shard_rows=60).plan)
    return [one, two, three]


def record(disk: Disk, name: str, value: dict[str, Any]) -> None:
    disk.write(f"selections/mine/{name}.json", dumps_checksummed(value))


def test_what_a_selection_needs_stays_with_all_it_is_made_from(store: Store, disk: Disk) -> None:
    needed, other = chain(store, 1), chain(store, 2)
    leave(store)
    record(disk, "000001", {"at": {"deep": [{"ranking": needed[2].folder}]}, "n": 1, "none": None})
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


def test_trained_models_stay_and_their_checkpoints_go(store: Store, disk: Disk) -> None:
    needed = chain(store, 1)
    record(disk, "000001", {"ranking": needed[2].folder})
    model = Spec("model", 1, {"rows": "r"})
    checkpoint = Spec("checkpoint", 1, {"step": 3}, {"training": model.key})
    for spec in (model, checkpoint):
        build(store, spec, Work(shard_rows=60).plan)
    found = garbage(store.place, soon(), unused=True)
    assert told(found) == [("artifact no selection needs", checkpoint.folder, 2)]


def test_without_a_record_nothing_goes(store: Store, disk: Disk) -> None:
    chain(store, 1)
    with pytest.raises(StorageError, match="no record that names an artifact"):
        garbage(store.place, soon(), unused=True)
    record(disk, "000001", {"artifacts": {"a": "nothing/of/ours", "b": "first/abc"}})
    with pytest.raises(StorageError, match="no record that names an artifact"):
        garbage(store.place, soon(), unused=True)
    assert garbage(store.place, soon()) == []


def signs(store: Store) -> dict[str, Callable[[Callable[[int], None]], None]]:
    """What a run at work may be doing; each is called with what happens meanwhile."""

    def asking(during: Callable[[int], None]) -> None:
        with CallCache(store, Spec("generated", 1, {"m": 1}), {"text": pl.String}).work_sharing():
            during(0)

    return {"build": lambda during: build(store, SPEC, Work(60, during).plan) and None,
            "asking": asking}  # fmt: skip


@pytest.mark.parametrize("what", ["build", "asking"])
def test_while_a_run_is_at_work_nothing_unused_goes(store: Store, disk: Disk, what: str) -> None:
    [one, *_], _ = chain(store, 1), chain(store, 2)
    record(disk, "000001", {"a": one.folder})
    refused = []

    def look(_: int) -> None:
        with pytest.raises(StorageError, match=r"a run is at work here .*wait until it ends"):
            garbage(store.place, soon(), unused=True)
        refused.append(what)

    signs(store)[what](look)
    assert refused == [what]
    assert len(garbage(store.place, soon(), unused=True)) >= 5


def test_the_sign_of_a_run_that_was_killed_is_no_hindrance_for_long(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    [one, *_] = chain(store, 1)
    record(Disk(fsspec.filesystem("file"), str(tmp_path)), "000001", {"a": one.folder})
    mark = tmp_path / SPEC.folder / ".tmp-building-0a"
    mark.parent.mkdir(parents=True)
    mark.touch()
    os.utime(mark, (time.time() - 500,) * 2)
    with pytest.raises(StorageError, match="a run is at work here"):
        garbage(store.place, soon(), unused=True)
    os.utime(mark, (time.time() - 700,) * 2)
    assert len(garbage(store.place, soon(), unused=True)) == 3


def test_a_record_that_is_damaged_stops_it_whatever_byte_it_is(tmp_path: Path) -> None:
    """A digit of a key that is another would leave the artifact that was meant to go."""
    store = Store(str(tmp_path))
    [one, *_] = chain(store, 1)
    name = tmp_path / "selections/mine/000001.json"
    name.parent.mkdir(parents=True)
    data = dumps_checksummed({"a": one.folder})
    layout = sort_out(store.place.walk())
    layout.records.append(FileInfo("selections/mine/000001.json", len(data), 0.0))
    for at in range(len(data)):
        name.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(StorageError, match=r"000001\.json .*are unknown; restore it"):
            _recorded(store.place, layout)
    with pytest.raises(StorageError, match="remove it"):
        garbage(store.place, soon(), unused=True)
    assert store.find(one) is not None


def test_a_pointer_that_is_damaged_or_points_nowhere_stops_it(store: Store, disk: Disk) -> None:
    [one, *_] = chain(store, 1)
    record(disk, "000001", {"a": one.folder})
    record(disk, "latest", {"number": 2})
    with pytest.raises(StorageError, match=r"names selections/mine/000002\.json, which is missing"):
        garbage(store.place, soon(), unused=True)
    disk.flip("selections/mine/latest.json", 5)
    with pytest.raises(StorageError, match=r"latest\.json .* flows.reselect --rollback-to"):
        garbage(store.place, soon(), unused=True)


def test_a_needed_manifest_that_is_damaged_stops_it(store: Store, disk: Disk) -> None:
    _, two, three = chain(store, 1)
    record(disk, "000001", {"a": three.folder})
    disk.flip(f"{two.folder}/{FILE}")
    with pytest.raises(StorageError, match="run verify --remove first"):
        garbage(store.place, soon(), unused=True)


def test_an_artifact_that_is_gone_is_no_hindrance(store: Store, disk: Disk) -> None:
    _, two, three = chain(store, 1)
    record(disk, "000001", {"a": three.folder, "b": f"first/{'0' * 64}"})
    store.forget(two.stage, two.key)
    assert [w for w, *_ in told(garbage(store.place, soon(), unused=True))] == [
        "artifact no selection needs"
    ]
