"""kill -9 at any moment, then the same command again: the same bytes as an undisturbed run's."""

import os
import signal
from pathlib import Path

import pytest
from command import Command, contents, finish, shards, stamps, until
from runs import SHARDS, Run

pytestmark = pytest.mark.server


def untouched(before: dict[str, tuple[int, int]], folder: Path) -> bool:
    """Whether every finished shard and manifest of before is the same file, not written again."""
    now = stamps(folder)
    return all(now[n] == stamp for n, stamp in before.items() if "/.tmp-" not in f"/{n}")


def test_killed_again_and_again(
    command: Command, flags: list[str], undisturbed: Run, tmp_path: Path
) -> None:
    here, store = command.within(tmp_path), tmp_path / "store"
    whole = contents(undisturbed.folder)

    # From outside, as soon as a second shard appears, wherever that finds the run.
    with here.start(*flags, slow="1.5") as process:
        until(lambda: len(shards(store, "instructions")) >= 2, process)
        os.killpg(process.pid, signal.SIGKILL)
        assert finish(process).status == -signal.SIGKILL
    found = {"instructions": len(shards(store, "instructions"))}
    assert 2 <= found["instructions"] < SHARDS

    # Then right after the n-th file that a run wrote for a stage, or for OUT.
    for stage, number, there in [
        ("scores", 3, 2),  # the first file of a build is its mark
        ("scores", 4, 5),
        ("metrics", 7, 6),
        ("out", 2, 0),
    ]:
        before = stamps(store)
        result = here.run(*flags, kill=f"{stage}:{number}").ended(-signal.SIGKILL)
        for earlier, kept in found.items():
            assert f"{earlier}: resuming from {kept} finished shards" in result.stderr
        assert untouched(before, store)
        left = contents(store)
        assert {n: whole[f"store/{n}"] for n in left} == left
        assert len(contents(store / stage)) == there
        found = {stage: there}

    assert not (tmp_path / "out" / "manifest.json").exists()
    before = stamps(store)
    assert len(here.run(*flags).ended(0).stages("Cached")) == 12
    assert untouched(before, store)
    assert contents(tmp_path) == whole
