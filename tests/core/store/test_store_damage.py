"""Whatever becomes of the files of a store is noticed before use, named, and mended alone."""

import re
from dataclasses import replace
from hashlib import sha256
from io import BytesIO

import polars as pl
import pytest
from disks import Disk, disk_of
from numbers_stage import ROWS, SPEC, WHOLE, Work

from crowdselect_core.errors import DamagedArtifact
from crowdselect_core.store.admin.verify import verify
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.build import build
from crowdselect_core.store.cache.call_cache import CallCache
from crowdselect_core.store.cache.key_index import as_keys, cell_key
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.names import FILE

OTHER = replace(SPEC, identity={**SPEC.identity, "seed": 8})
SHARDS = ROWS // 10
CELLS, OTHERS = Spec("generated", 1, {"model": "a"}), Spec("generated", 1, {"model": "b"})
KEYS = [cell_key(b"%d" % i) for i in range(8)]


@pytest.fixture
def undisturbed(other_root: str, request: pytest.FixtureRequest) -> dict[str, bytes]:
    """The files of a build in another store that nothing disturbs."""
    build(Store(other_root), SPEC, Work().plan)
    return disk_of(other_root, request).files()


def mended(store: Store, spec: Spec = SPEC) -> list[int]:
    """Look for the artifact and build it if it is not whole; return what was computed."""
    work = Work()
    artifact = store.find(spec) or build(store, spec, work.plan)
    assert artifact.frame().equals(WHOLE)
    return work.made


def every(disk: Disk, size: int, local: int, remote: int) -> range:
    """Places in a file: all of them or a sample, fewer on a server."""
    return range(0, size, local if disk.root.startswith("/") else remote)


def test_each_byte_of_a_manifest(store: Store, disk: Disk, undisturbed: dict[str, bytes]) -> None:
    build(store, SPEC, Work().plan)
    name = f"{SPEC.folder}/{FILE}"
    whole = undisturbed[name]
    for at in every(disk, len(whole), 1, 37):
        data = bytearray(whole)
        data[at] ^= 1 << at % 8
        disk.write(name, bytes(data))
        with pytest.raises(DamagedArtifact):
            store.open(SPEC.stage, SPEC.key)
        if at % 37 == 0:
            assert [f.name for f in verify(store.place).findings] == [name]
            assert mended(store) == []
            assert disk.files() == undisturbed


def test_a_sample_of_the_bytes_of_every_shard(
    store: Store, disk: Disk, undisturbed: dict[str, bytes]
) -> None:
    build(store, SPEC, Work().plan)
    shards = sorted(n for n in undisturbed if "/part-" in n)
    for index, name in enumerate(shards):
        for at in every(disk, len(undisturbed[name]), 97, 997):
            disk.flip(name, at)
            artifact = store.find(SPEC)
            assert artifact is not None, "it has its size, so that it shows when it is read"
            with pytest.raises(DamagedArtifact, match=f"{name} is damaged"):
                artifact.frame()
            assert mended(store) == [index]
            assert disk.files() == undisturbed


@pytest.mark.parametrize("left", [0, 1, 4, 500, -8, -1])
def test_files_cut_short(
    store: Store, disk: Disk, undisturbed: dict[str, bytes], left: int,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    build(store, SPEC, Work().plan)
    for index, name in enumerate(sorted(undisturbed)):
        caplog.clear()
        disk.write(name, undisturbed[name][:left])
        assert mended(store) == ([] if name.endswith(FILE) else [index - 1])
        assert SPEC.folder in caplog.text
        assert disk.files() == undisturbed


def test_who_comes_second_to_a_damaged_shard_is_told_the_same(store: Store, disk: Disk) -> None:
    artifact = build(store, SPEC, Work().plan)
    name = f"{SPEC.folder}/{artifact.manifest.shards[0].name}"
    disk.write(name, bytes(artifact.manifest.shards[0].bytes))
    for _ in range(2):  # two threads of one run, say
        with pytest.raises(DamagedArtifact, match="is damaged"):
            artifact.shard(0)
        assert name not in disk.files()
    assert mended(store) == [0]
    disk.remove(name)
    with pytest.raises(DamagedArtifact, match="is gone"):
        artifact.shard(0)


def test_files_that_are_gone(store: Store, disk: Disk, undisturbed: dict[str, bytes]) -> None:
    build(store, SPEC, Work().plan)
    for index, name in enumerate(sorted(undisturbed)):
        disk.remove(name)
        assert mended(store) == ([] if name.endswith(FILE) else [index - 1])
        assert disk.files() == undisturbed


def swap(disk: Disk, one: str, other: str) -> None:
    files = disk.files()
    disk.write(one, files[other])
    disk.write(other, files[one])


def test_shards_that_change_places(store: Store, disk: Disk, undisturbed: dict[str, bytes]) -> None:
    build(store, SPEC, Work().plan)
    first, *_, last = sorted(n for n in undisturbed if "/part-" in n)
    swap(disk, first, last)
    assert mended(store) == [0, 5]
    assert disk.files() == undisturbed


def other_work() -> Work:
    """A plan like SPEC's whose rows are others: its shards have names of the same form."""
    work = Work()
    part = work._part
    work._part = lambda index, start: part(index, ROWS - 10 - start)  # type: ignore[method-assign]
    return work


def test_files_that_change_keys(store: Store, disk: Disk, undisturbed: dict[str, bytes]) -> None:
    build(store, SPEC, Work().plan)
    build(store, OTHER, other_work().plan)
    before = disk.files()
    swap(disk, f"{SPEC.folder}/{FILE}", f"{OTHER.folder}/{FILE}")
    for spec in (SPEC, OTHER):
        with pytest.raises(DamagedArtifact, match="another artifact"):
            store.open(spec.stage, spec.key)
        assert store.find(spec) is None
    build(store, OTHER, other_work().plan)
    assert mended(store) == []
    assert disk.files() == before


def test_shards_of_another_key_are_not_taken_for_finished_ones(
    store: Store, disk: Disk, undisturbed: dict[str, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    build(store, OTHER, other_work().plan)
    planted = {
        n.replace(OTHER.folder, SPEC.folder): data
        for n, data in disk.files(OTHER.folder).items()
        if "/part-" in n
    }
    for name, data in planted.items():
        disk.write(name, data)
    found = {(f.kind, f.name) for f in verify(store.place).findings}
    assert found == {("swapped", name) for name in planted}
    assert mended(store) == list(range(SHARDS))
    assert caplog.text.count("belongs to another artifact") == SHARDS
    assert disk.files(SPEC.folder) == undisturbed


def test_a_finished_shard_under_another_number_is_not_taken_for_that_one(
    store: Store, disk: Disk, undisturbed: dict[str, bytes]
) -> None:
    build(store, SPEC, Work().plan)
    first, second, *_ = sorted(n for n in undisturbed if "/part-" in n)
    for name in (f"{SPEC.folder}/{FILE}", first, second):
        disk.remove(name)
    disk.write(first.replace("part-00000", "part-00001"), undisturbed[first])
    disk.write(second.replace("part-00001", "part-00000"), undisturbed[second])
    assert mended(store) == [0, 1]
    assert disk.files() == undisturbed


# Cells.


def opened(store: Store, spec: Spec = CELLS) -> CallCache:
    found = CallCache(store, spec, {"text": pl.String})
    found.refresh()
    return found


def lacking(cells: CallCache) -> list[int]:
    """Return the numbers of the keys that have no cell, once all is read."""
    cells.read(as_keys(KEYS))
    return [i for i, gone in enumerate(cells.missing(as_keys(KEYS))) if gone]


def filled(store: Store, spec: Spec = CELLS, word: str = "text") -> None:
    """Commit four cells in one segment and four in another."""
    cells = opened(store, spec)
    for numbers in (range(4), range(4, 8)):
        cells.commit([(KEYS[i], f"{word} {i}") for i in numbers])


def segments(disk: Disk, folder: str = CELLS.folder) -> list[str]:
    return [n for n in disk.files(folder) if re.search("/cells-", n)]


def test_a_sample_of_the_bytes_of_segments(
    store: Store, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    filled(store)
    whole = disk.files()
    for name in segments(disk):
        for at in every(disk, len(whole[name]), 23, 331):
            caplog.clear()
            disk.flip(name, at)
            assert lacking(opened(store)) in ([0, 1, 2, 3], [4, 5, 6, 7])
            assert f"{name} is damaged" in caplog.text
            disk.write(name, whole[name])
    assert lacking(opened(store)) == []


@pytest.mark.parametrize("left", [0, 4, -1])
def test_segments_cut_short_or_gone(store: Store, disk: Disk, left: int) -> None:
    filled(store)
    one, other = segments(disk)
    reader = opened(store)
    disk.write(one, disk.files()[one][:left])
    lost = lacking(opened(store))
    assert len(lost) == 4
    disk.remove(other)
    assert lacking(reader) == list(range(8)), "also by one that had seen them whole"


def test_segments_that_change_names(store: Store, disk: Disk) -> None:
    filled(store)
    swap(disk, *segments(disk))
    assert lacking(opened(store)) == list(range(8))


def test_segments_that_change_keys_are_told_and_left(
    store: Store, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    filled(store)
    filled(store, OTHERS, "another model's")
    moved = segments(disk, OTHERS.folder)[0]
    planted = moved.replace(OTHERS.folder, CELLS.folder)
    disk.write(planted, disk.files()[moved])
    disk.remove(segments(disk)[0] if segments(disk)[0] != planted else segments(disk)[1])
    cells = opened(store)
    rows = cells.read(as_keys(KEYS))
    assert rows.height == 4
    assert all(text.startswith("text ") for text in rows["text"])
    cells.refresh()
    assert caplog.text.count("belongs to other cells; it is left aside") == 1
    assert planted in disk.files()
    [finding] = verify(store.place).findings
    assert (finding.kind, finding.name) == ("swapped", planted)
    assert finding.why == f"belongs to {OTHERS.folder}"


def test_segments_that_do_not_say_whose_they_are_are_kept(store: Store, disk: Disk) -> None:
    """Those of the first release say nothing; they were paid for."""
    data = BytesIO()
    schema = {"key": pl.Binary, "text": pl.String}
    pl.DataFrame([(KEYS[0], "old")], schema, orient="row").write_parquet(data)
    name = f"{CELLS.folder}/cells-{sha256(data.getvalue()).hexdigest()}.parquet"
    disk.write(name, data.getvalue())
    assert opened(store).read(as_keys(KEYS))["text"].to_list() == ["old"]
