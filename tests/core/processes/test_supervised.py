"""A supervised process, on programs that sleep: waiting for it, its log, and how it ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from processes import members

from crowdselect_core.processes.supervised import NotReady, SupervisedProcess

# It starts a child of its own, tells that both are there, and sleeps.
FAMILY = """
import pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
print("both are up", flush=True)
pathlib.Path("ready").touch()
time.sleep(600)
"""


@pytest.fixture
def started() -> Iterator[list[SupervisedProcess]]:
    """Processes that end with the test."""
    found: list[SupervisedProcess] = []
    yield found
    for one in found:
        one.end()


def supervised(folder: Path, code: str = FAMILY, **how: bool) -> SupervisedProcess:
    return SupervisedProcess(
        "thing", [sys.executable, "-S", "-c", code], os.environ, folder / "log",
        (folder / "ready").exists, folder=folder, **how,
    )  # fmt: skip


@pytest.mark.parametrize("abrupt", [False, True])
def test_its_whole_family_is_there_when_it_is_ready_and_gone_when_it_was_ended(
    tmp_path: Path, started: list[SupervisedProcess], abrupt: bool
) -> None:
    one = supervised(tmp_path, abrupt=abrupt)
    started.append(one)
    assert not one.runs()
    one.start()
    one.wait(120)
    assert one.runs()
    assert one.last_line() == f"both are up (see {one.log})"
    assert one.pid is not None
    assert len(members(one.pid)) == 2
    one.end()
    assert members(one.pid) == []
    assert not one.runs()
    assert one.exit_code == 128 + (signal.SIGKILL if abrupt else signal.SIGTERM)
    one.end()  # changes nothing


def test_one_that_ends_at_its_start_says_why(tmp_path: Path) -> None:
    one = supervised(tmp_path, 'print("so far"); raise SystemExit("no such model")')
    one.start()
    with pytest.raises(NotReady, match=r"thing ended before it was ready: no such model \(see"):
        one.wait(120)
    one.end()
    assert one.exit_code == 1


def test_one_that_is_not_ready_in_time(tmp_path: Path, started: list[SupervisedProcess]) -> None:
    one = supervised(tmp_path, "import time; time.sleep(600)")
    started.append(one)
    one.start()
    with pytest.raises(
        NotReady, match=r"thing was not ready after 0.1 s: it wrote nothing"
    ) as late:
        one.wait(0.1)
    assert not late.value.ended
    assert one.runs()


def test_what_the_look_raises_ends_the_waiting(
    tmp_path: Path, started: list[SupervisedProcess]
) -> None:
    one = supervised(tmp_path)
    started.append(one)

    def stopped() -> bool:
        raise KeyError("stopped")

    one.healthy = stopped
    one.start()
    with pytest.raises(KeyError, match="stopped"):
        one.wait(120)


def test_a_second_start_goes_on_in_the_log(tmp_path: Path) -> None:
    one = supervised(tmp_path, 'raise SystemExit("this start")')
    for _ in range(2):
        one.start()
        with pytest.raises(NotReady):
            one.wait(120)
        one.end()
    log = one.log.read_bytes()
    assert log[: one.log_start] == log[one.log_start :] == b"this start\n"


def test_a_log_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        supervised(tmp_path / "nowhere").start()


def test_nothing_survives_the_death_of_the_parent(tmp_path: Path) -> None:
    parent = f"""
import os, signal, sys
from pathlib import Path
from crowdselect_core.processes.supervised import SupervisedProcess
folder = Path({str(tmp_path)!r})
one = SupervisedProcess("thing", [sys.executable, "-S", "-c", {FAMILY!r}], os.environ,
                        folder / "log", (folder / "ready").exists, folder=folder)
one.start()
one.wait(120)
print(one.pid, flush=True)
signal.pause()
"""
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE)
    assert process.stdout is not None
    group = int(process.stdout.readline())
    assert len(members(group)) == 2
    process.kill()
    process.wait()
    end = time.monotonic() + 120
    try:
        while members(group):
            assert time.monotonic() < end
            time.sleep(0.05)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
