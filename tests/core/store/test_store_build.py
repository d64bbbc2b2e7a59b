"""A build keeps what is whole, computes what is not, says so, and ends with the same bytes."""

import pickle
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from threading import Event

import polars as pl
import pytest
from disks import Disk, disk_of
from numbers_stage import ROWS, SPEC, WHOLE, Work

from crowdselect_core.errors import DamagedArtifact, StorageError
from crowdselect_core.store.artifacts import Finished, Store
from crowdselect_core.store.build import build
from crowdselect_core.store.executors.base import Parts
from crowdselect_core.store.executors.threads import Threads
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.names import FILE
from crowdselect_core.store.plan import Plan, ShardResult, single

SHARDS = ROWS // 10


def stop_at(*indexes: int) -> Callable[[int], None]:
    def before(index: int) -> None:
        if index in indexes:
            raise KeyError(f"shard {index} fails")

    return before


def shard_of(disk: Disk, index: int) -> str:
    [name] = [n for n in disk.files() if f"/part-{index:05d}-of-" in n]
    return name


@pytest.fixture
def undisturbed(other_root: str, request: pytest.FixtureRequest) -> dict[str, bytes]:
    """The files of a build in another store that nothing disturbs."""
    build(Store(other_root), SPEC, Work().plan)
    return disk_of(other_root, request).files()


def test_an_undisturbed_build(store: Store, disk: Disk) -> None:
    work = Work()
    assert store.find(SPEC) is None
    built = build(store, SPEC, work.plan)
    assert work.made == list(range(SHARDS))
    found = store.find(SPEC)
    assert found is not None
    assert found.manifest == built.manifest == store.open("numbers", SPEC.key).manifest
    assert found.frame().equals(WHOLE)
    assert found.frame(["number"]).equals(WHOLE.select("number"))
    assert [f.height for f in found.frames()] == [10] * SHARDS
    # 5 even numbers in each of 6 shards; 0 + ... + 59 = 59 * 60 / 2
    assert (found.rows, found.manifest.counts, found.manifest.facts) == (
        60, {"even": 30}, {"sum": 1770},
    )  # fmt: skip
    files = disk.files()
    assert len(files) == SHARDS + 1
    for shard in found.manifest.shards:
        data = files[f"{SPEC.folder}/{shard.name}"]
        assert shard.name.endswith(f"-{sha256(data).hexdigest()}.parquet")
        assert (shard.bytes, shard.rows) == (len(data), 10)


@pytest.mark.parametrize("workers", [2, 4, 16])
def test_the_number_of_workers_changes_no_byte(
    store: Store, disk: Disk, undisturbed: dict[str, bytes], workers: int
) -> None:
    build(store, SPEC, Work().plan, executor=Threads(workers))
    assert disk.files() == undisturbed


class Backwards:
    """Ends the last part first."""

    def run(self, parts: Parts, indices: Iterable[int]) -> Iterator[Finished]:
        return map(parts.here, reversed(list(indices)))


def test_parts_that_end_in_any_order_are_counted_at_once_and_change_no_byte(
    store: Store, disk: Disk, undisturbed: dict[str, bytes]
) -> None:
    seen: list[int] = []
    work = Work()
    build(
        store, SPEC, work.plan, executor=Backwards(),
        progress=lambda _, done, total: seen.append(len(work.made) - done),
    )  # fmt: skip
    assert seen == [0] * SHARDS
    assert disk.files() == undisturbed


@pytest.mark.parametrize("workers", [1, 3])
def test_a_shard_that_raises_leaves_those_that_are_finished(
    store: Store, disk: Disk, undisturbed: dict[str, bytes], workers: int,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    with pytest.raises(KeyError, match="shard 3 fails"):
        build(store, SPEC, Work(before=stop_at(3)).plan, executor=Threads(workers))
    left = disk.files()
    assert {n: undisturbed[n] for n in left} == left
    assert all(f"/part-{i:05d}-of-" in " ".join(left) for i in range(3))
    assert store.find(SPEC) is None
    with pytest.raises(DamagedArtifact):
        store.open("numbers", SPEC.key)

    stamps, work = disk.stamps(), Work()
    with caplog.at_level("INFO"):
        build(store, SPEC, work.plan, executor=Threads(workers))
    assert work.made == [i for i in range(SHARDS) if f"/part-{i:05d}-of-" not in " ".join(left)]
    assert f"numbers: resuming from {len(left)} finished shards" in caplog.text
    assert {n: disk.stamps()[n] for n in stamps} == stamps
    assert disk.files() == undisturbed


def test_an_interrupt_leaves_the_finished_shards(store: Store, disk: Disk) -> None:
    def interrupt(index: int) -> None:
        if index == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(store, SPEC, Work(before=interrupt).plan)
    assert len(disk.files()) == 2


def test_shards_of_another_cut_are_never_mixed(store: Store, disk: Disk) -> None:
    with pytest.raises(KeyError):
        build(store, SPEC, Work(shard_rows=10, before=stop_at(4)).plan)
    before, stamps, work = disk.files(), disk.stamps(), Work(shard_rows=15)
    built = build(store, SPEC, work.plan)
    assert work.made == [0, 1, 2, 3]
    assert built.frame().equals(WHOLE)
    assert [s.rows for s in built.manifest.shards] == [15, 15, 15, 15]
    assert {n: disk.stamps()[n] for n in before} == stamps


def test_a_complete_artifact_of_another_cut_is_the_same_artifact(store: Store) -> None:
    build(store, SPEC, Work(shard_rows=15).plan)
    found = store.find(SPEC)
    assert found is not None
    assert found.frame().equals(WHOLE)


def test_a_damaged_finished_shard_is_computed_alone(
    store: Store, disk: Disk, undisturbed: dict[str, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(KeyError):
        build(store, SPEC, Work(before=stop_at(4)).plan)
    damaged = shard_of(disk, 1)
    disk.flip(damaged)
    stamps, work = disk.stamps(), Work()
    build(store, SPEC, work.plan)
    assert work.made == [1, 4, 5]
    assert f"{damaged} is damaged (sha256 differs); computing it again" in caplog.text
    assert {n for n in stamps if disk.stamps()[n] != stamps[n]} == {damaged}
    assert disk.files() == undisturbed


def vanish(disk: Disk, name: str) -> None:
    disk.remove(name)


def cut(disk: Disk, name: str) -> None:
    disk.write(name, disk.files()[name][:-1])


def empty(disk: Disk, name: str) -> None:
    disk.write(name, b"")


@pytest.mark.parametrize("damage", [vanish, cut, empty])
def test_a_shard_of_a_complete_artifact_that_is_missing_or_short_is_computed_alone(
    store: Store, disk: Disk, undisturbed: dict[str, bytes], caplog: pytest.LogCaptureFixture,
    damage: Callable[[Disk, str], None],
) -> None:  # fmt: skip
    build(store, SPEC, Work().plan)
    name = shard_of(disk, 2)
    damage(disk, name)
    assert store.find(SPEC) is None
    assert "1 of 6 shards are missing or damaged (part-00002 ...)" in caplog.text
    stamps, work = disk.stamps(), Work()
    assert build(store, SPEC, work.plan).frame().equals(WHOLE)
    assert work.made == [2]
    assert disk.files() == undisturbed
    assert {n for n in stamps if disk.stamps()[n] != stamps[n]} <= {name}


def test_a_flipped_byte_is_noticed_when_it_is_read_and_computed_alone(
    store: Store, disk: Disk, undisturbed: dict[str, bytes]
) -> None:
    artifact = build(store, SPEC, Work().plan)
    name = shard_of(disk, 3)
    disk.flip(name)
    assert artifact.shard(0).height == 10
    with pytest.raises(DamagedArtifact, match=r"part-00003-.* is damaged \(sha256 differs\)"):
        artifact.frame()
    with pytest.raises(DamagedArtifact, match=r"part-00003-.* is damaged"):
        artifact.shard(3)
    assert store.find(SPEC) is None
    stamps, work = disk.stamps(), Work()
    build(store, SPEC, work.plan)
    assert work.made == [3]
    assert disk.files() == undisturbed
    assert {n: disk.stamps()[n] for n in stamps} == stamps


@pytest.mark.parametrize("at", [0, 40, -2])
def test_a_damaged_manifest_is_written_anew_and_no_shard_computed(
    store: Store, disk: Disk, undisturbed: dict[str, bytes], caplog: pytest.LogCaptureFixture,
    at: int,
) -> None:  # fmt: skip
    build(store, SPEC, Work().plan)
    disk.flip(f"{SPEC.folder}/{FILE}", at)
    with pytest.raises(DamagedArtifact):
        store.open("numbers", SPEC.key)
    assert store.find(SPEC) is None
    assert "manifest" in caplog.text
    assert "it is written again" in caplog.text
    work = Work()
    build(store, SPEC, work.plan)
    assert work.made == []
    assert disk.files() == undisturbed


def test_another_artifacts_manifest_is_not_taken_for_this_one(store: Store, disk: Disk) -> None:
    other = replace(SPEC, identity={**SPEC.identity, "seed": 8})
    build(store, other, Work(shard_rows=15).plan)
    disk.write(f"{SPEC.folder}/{FILE}", disk.files()[f"{other.folder}/{FILE}"])
    with pytest.raises(DamagedArtifact):
        store.open("numbers", SPEC.key)
    assert store.find(SPEC) is None
    work = Work()
    assert build(store, SPEC, work.plan).frame().equals(WHOLE)
    assert work.made == list(range(SHARDS))


class Bomb:
    """What writes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[Path]]:
        return Path.touch, (self.mark,)


def test_planted_files_are_ignored(
    store: Store, disk: Disk, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    mark = tmp_path / "exploded"
    bomb = pickle.dumps(Bomb(mark))
    tag, digest = Work().plan.tag, sha256(bomb).hexdigest()
    planted = {
        f"{SPEC.folder}/{name}": bomb
        for name in (
            "manifest.json.pkl",
            "manifest.pkl",
            "part-00000.pkl",
            "part-00000.parquet",
            f"part-00000-of-{tag}-{digest}.pkl",
            f"part-00001-of-{tag}-{digest}.parquet.pkl",
            f"part-00002-of-{tag}-{'0' * 64}x.parquet",
            f"part-00003-of-00000000-{digest}.parquet",
            "notes.txt",
        )
    }
    for name, data in planted.items():
        disk.write(name, data)
    work = Work()
    assert build(store, SPEC, work.plan).frame().equals(WHOLE)
    found = store.find(SPEC)
    assert found is not None
    assert found.frame().equals(WHOLE)
    assert work.made == list(range(SHARDS))
    assert disk.files() == undisturbed | planted
    assert not mark.exists()


@pytest.mark.parametrize("data", ["pickle", "parquet of another kind", "parquet of a wrong size"])
def test_a_planted_file_with_the_name_of_a_shard_is_computed_anew(
    store: Store, disk: Disk, undisturbed: dict[str, bytes], tmp_path: Path, data: str
) -> None:
    if data == "pickle":
        planted = pickle.dumps(Bomb(tmp_path / "exploded"))
    else:
        told = {"crowdselect": '{"rows":-1}'} if data.endswith("size") else None
        WHOLE.write_parquet(tmp_path / "planted", metadata=told)
        planted = (tmp_path / "planted").read_bytes()
    name = f"part-00001-of-{Work().plan.tag}-{sha256(planted).hexdigest()}.parquet"
    disk.write(f"{SPEC.folder}/{name}", planted)
    work = Work()
    assert build(store, SPEC, work.plan).frame().equals(WHOLE)
    assert work.made == list(range(SHARDS))
    assert {n: d for n, d in disk.files().items() if name not in n} == undisturbed
    assert not (tmp_path / "exploded").exists()


def test_a_build_holds_no_more_shards_than_it_has_workers(store: Store) -> None:
    started, second, never = [], Event(), Event()

    def before(index: int) -> None:
        started.append(index)
        if index == 1:
            second.set()
        if index == 0:
            # The others may go on, but none may start that would have to wait in memory.
            assert second.wait(120)
            never.wait(0.5)
            assert sorted(started) == [0, 1]

    build(store, SPEC, Work(before=before).plan, executor=Threads(2))
    assert sorted(started) == list(range(SHARDS))


def test_progress_counts_the_shards_that_are_there_too(store: Store) -> None:
    seen: list[tuple[str, int, int]] = []
    with pytest.raises(KeyError):
        build(store, SPEC, Work(before=stop_at(2)).plan)
    build(store, SPEC, Work().plan, progress=lambda *told: seen.append(told))
    assert seen == [("numbers", n, SHARDS) for n in range(1, SHARDS + 1)]


def test_a_stage_of_one_shard(store: Store) -> None:
    part = Work().plan.compute
    built = build(store, SPEC, single(lambda: part(0), lambda: {"why": "x"}))
    assert built.frame().equals(WHOLE[:10])
    assert built.manifest.facts == {"why": "x"}


def test_a_near_miss_names_the_fields_that_differ(store: Store, disk: Disk) -> None:
    assert store.nearest_miss(SPEC) == ""
    far = replace(SPEC, version=2, identity={"seed": 9, "model": "n"})
    near = replace(SPEC, identity={**SPEC.identity, "seed": 8})
    for spec in (far, near):
        build(store, spec, Work(shard_rows=60).plan)
    disk.write(f"numbers/{'0' * 64}/{FILE}", b"no manifest")
    assert store.nearest_miss(SPEC) == "identity.seed: 8 -> 7"


def test_a_place_that_cannot_be_written_is_told_before_anything_is_computed(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_bytes(b"")
    work = Work()
    with pytest.raises(StorageError):
        build(Store(str(tmp_path / "file")), SPEC, work.plan)
    assert work.made == []


def test_notes_are_logged_once_and_by_a_resumed_build_too(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    def part(number: int) -> ShardResult:
        return ShardResult(pl.DataFrame({"number": [number]}), notes=["a weak metric"])

    def parts() -> Plan:
        return Plan(2, part, cut={"rows": 1})

    spec = Spec("noted", 1, {})
    built = build(store, spec, parts()).manifest
    assert built.facts == {"notes": ["a weak metric"]}
    assert caplog.messages.count("a weak metric") == 1
    store.place.remove(f"{spec.folder}/manifest.json")
    caplog.clear()
    assert build(store, spec, parts()).manifest == built
    assert caplog.messages.count("a weak metric") == 1
