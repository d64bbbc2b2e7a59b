"""Builds of the same artifact at the same time: one manifest, the same bytes, and both go on."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from command import ROOT
from disks import Disk, disk_of
from numbers_stage import SPEC, WHOLE, Work

from crowdselect_core.store.artifacts import Artifact, Store
from crowdselect_core.store.backend.local import LocalBackend
from crowdselect_core.store.build import build
from crowdselect_core.store.names import FILE

BUILDER = Path(__file__).parent / "builder.py"


@pytest.fixture
def undisturbed(other_root: str, request: pytest.FixtureRequest) -> dict[str, bytes]:
    """The files of a build in another store that nothing disturbs."""
    build(Store(other_root), SPEC, Work().plan)
    return disk_of(other_root, request).files()


def test_threads_that_race_shard_by_shard(
    root: str, disk: Disk, undisturbed: dict[str, bytes]
) -> None:
    racers = 4
    start = Barrier(racers)

    def race(_: int) -> Artifact:
        # Every shard is begun by all of them at the same moment.
        return build(Store(root), SPEC, Work(before=lambda _: start.wait(120) and None).plan)

    with ThreadPoolExecutor(racers) as pool:
        built = list(pool.map(race, range(racers)))
    assert all(b.manifest == built[0].manifest for b in built)
    assert all(b.frame().equals(WHOLE) for b in built)
    assert disk.files() == undisturbed


def test_processes_that_race(
    root: str, disk: Disk, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    gate.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "GATE": str(gate)}
    racers = [
        subprocess.Popen(
            [sys.executable, BUILDER, root], env=environment, text=True, stdout=subprocess.PIPE
        )
        for _ in range(3)
    ]
    end = time.monotonic() + 240
    while len(list(gate.iterdir())) < len(racers) and time.monotonic() < end:
        time.sleep(0.01)
    (gate / "open").touch()
    said = [racer.communicate(timeout=240)[0] for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0, 0]
    manifests = {text.split("\n", 1)[1].rstrip("\n") + "\n" for text in said}
    assert manifests == {undisturbed[f"{SPEC.folder}/{FILE}"].decode()}
    assert disk.files() == undisturbed


def test_the_first_manifest_wins_and_the_second_build_goes_on_with_it(
    store: Store, root: str
) -> None:
    def overtaken(index: int) -> None:
        if index == 5:  # another build, of another cut, ends while this one is at its last shard
            build(Store(root), SPEC, Work(shard_rows=15).plan)

    built = build(store, SPEC, Work(before=overtaken).plan)
    found = store.find(SPEC)
    assert found is not None
    assert built.manifest == found.manifest
    assert [s.rows for s in built.manifest.shards] == [15, 15, 15, 15]
    assert built.frame().equals(WHOLE)


def test_a_manifest_whose_shards_are_gone_does_not_win(store: Store, root: str, disk: Disk) -> None:
    def overtaken(index: int) -> None:
        if index == 5:
            build(Store(root), SPEC, Work(shard_rows=15).plan)
            disk.remove(next(n for n in disk.files() if "/part-00003-" in n and _fifteen(n)))

    built = build(store, SPEC, Work(before=overtaken).plan)
    assert [s.rows for s in built.manifest.shards] == [10] * 6
    found = store.find(SPEC)
    assert found is not None
    assert found.frame().equals(WHOLE)


def _fifteen(name: str) -> bool:
    return f"-of-{Work(shard_rows=15).plan.tag}-" in name


def test_a_reader_is_not_disturbed_by_a_build(store: Store, root: str) -> None:
    artifact = build(store, SPEC, Work().plan)
    frames = artifact.frames()
    first = next(frames)
    build(Store(root), SPEC, Work().plan)
    assert first.vstack(next(frames)).equals(WHOLE[:20])


class Removing(LocalBackend):
    """A place where another has a manifest when we write one, and removes it a moment later."""

    left = 0  # times that it does so
    damaged = False  # whether it leaves one that is damaged instead
    tries = 0

    def create_exclusive(self, name: str, data: bytes) -> bool:
        if not name.endswith(FILE) or self.left == 0:
            return super().create_exclusive(name, data)
        self.left, self.tries = self.left - 1, self.tries + 1
        if self.damaged:
            self.replace(name, data[:-9])
        return False


@pytest.mark.parametrize(("times", "damaged"), [(1, False), (3, False), (1000, False), (1, True)])
def test_a_manifest_that_another_removes_meanwhile_is_written(
    tmp_path: Path, times: int, damaged: bool
) -> None:
    store = Store(str(tmp_path))
    store.place = place = Removing(str(tmp_path))
    place.left, place.damaged = times, damaged
    assert build(store, SPEC, Work().plan).frame().equals(WHOLE)
    found = Store(str(tmp_path)).find(SPEC)
    assert found is not None
    assert found.frame().equals(WHOLE)
    assert place.tries == min(times, 5)
