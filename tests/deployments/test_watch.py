"""`make server` starts again what ends, and gives up on what ends again and again."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from crowdselect_core.processes.supervised import SupervisedProcess
from deployments import server
from deployments.server import PartFailed

# The start of each number does what the word of that number says.
SCRIPT = """
import pathlib, sys, time
starts = pathlib.Path("starts")
with starts.open("a") as file:
    file.write("x")
what = sys.argv[len(starts.read_text())]
if what == "works":
    pathlib.Path("works").touch()
if what != "fails":
    time.sleep(600)
sys.exit(f"it {what}")
"""


class Enough(Exception):
    """The test has seen what it wants."""


@pytest.fixture
def part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., SupervisedProcess]]:
    """Make and start a part whose starts do what the words say: works, fails, hangs."""
    monkeypatch.setattr(server, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(server, "START_SECONDS", 240.0)
    made: list[SupervisedProcess] = []

    def make(*words: str) -> SupervisedProcess:
        command = [sys.executable, "-S", "-c", SCRIPT, *words]
        one = SupervisedProcess(
            "thing", command, os.environ, tmp_path / "log", (tmp_path / "works").exists,
            folder=tmp_path,
        )  # fmt: skip
        made.append(one)
        one.start()
        return one

    yield make
    for one in made:
        one.end()


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is said; the watch ends when the part is up again."""
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        if line == "thing: up again":
            raise Enough

    monkeypatch.setattr(server, "say", say)
    return lines


def test_a_start_that_fails_is_one_failure_and_not_the_end(
    part: Callable[..., SupervisedProcess], said: list[str]
) -> None:
    with pytest.raises(Enough):
        server.watch([part("fails", "fails", "fails", "works")])
    assert said.count("thing: exited, restarting") == 3
    assert [line for line in said if line.startswith("thing ended before it was ready: it fails")]


def test_a_start_that_hangs_is_ended_and_counted(
    part: Callable[..., SupervisedProcess], said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "START_SECONDS", 0.2)
    with pytest.raises(PartFailed, match="thing keeps exiting"):
        server.watch([part("fails", "hangs", "hangs", "hangs")])
    assert (
        sum(line.startswith("thing was not ready after 0.2 s") for line in said) == server.FAILURES
    )


def test_it_gives_up_after_as_many_failures_in_a_row(
    part: Callable[..., SupervisedProcess], said: list[str]
) -> None:
    with pytest.raises(PartFailed, match="thing keeps exiting: it fails"):
        server.watch([part(*["fails"] * 5)])
    assert said.count("thing: exited, restarting") == server.FAILURES
