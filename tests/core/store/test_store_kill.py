"""kill -9 at every point where a build touches the disk; the next one ends with the same bytes."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from command import ROOT, contents, stamps
from numbers_stage import SPEC, WHOLE, Work

from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.build import build
from crowdselect_core.store.executors.threads import Threads
from crowdselect_core.store.names import FILE

BUILDER = Path(__file__).parent / "builder.py"


def builder(root: Path, *death: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, BUILDER, root, *death],
        env={**os.environ, "PYTHONPATH": str(ROOT), "POLARS_MAX_THREADS": "1"},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip


def test_killed_at_every_write_and_built_to_the_end(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    counted = builder(whole).stdout.split("\n")[0]
    # 6 shards and the manifest are written to the disk and linked, and their folder with each (14).
    # The probe (1) and the build's mark (1, 1 for its folder) are not linked. The root, the stage's
    # and the key's folder are made (3).
    assert counted == "fsync=20 link=7"
    undisturbed = contents(whole)
    assert len(undisturbed) == 7
    deaths = ["fsync:1:before", "fsync:11:before", "link:3:after", "link:7:after"]
    deaths += [f"link:{n}:before" for n in range(1, 8)]

    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(lambda d: builder(tmp_path / d.replace(":", "-"), d), deaths))
    assert [e.returncode for e in ended] == [-signal.SIGKILL] * len(deaths), ended[0].stderr

    seen = set()
    for death in deaths:
        root = tmp_path / death.replace(":", "-")
        store, left = Store(str(root)), contents(root)
        assert {n: undisturbed.get(n) for n in left} == left, "a file that is there is whole"
        assert (store.find(SPEC) is not None) == (f"{SPEC.folder}/{FILE}" in left)
        before, work = stamps(root), Work()
        assert build(store, SPEC, work.plan, executor=Threads(2)).frame().equals(WHOLE)
        assert contents(root) == undisturbed
        assert {n: stamps(root)[n] for n in left} == {n: before[n] for n in left}
        assert len(work.made) == 6 - sum("/part-" in n for n in left)
        seen.add(len(left))
    assert seen == set(range(8)), "killed with 0, 1, ... 7 files finished"
