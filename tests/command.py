"""Running the command as a user does, in a process of its own, and looking at what it left."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from warm import Fork, Warm

ROOT = Path(__file__).parent.parent
TAMPERED = Path(__file__).parent / "tampered.py"
Process: TypeAlias = subprocess.Popen[str] | Fork
PACKAGES = ("flows", "tasks", "crowdselect_core")
# '12:00:01.123 | WARNING | prefect.events - message'; what is of a flow or a task is the run's.
OF_PREFECT = re.compile(
    r"\d\d:\d\d:\d\d\.\d{3} \| (WARNING|ERROR) +\| prefect(?!\.(flow|task)_runs)\b"
)
SECONDS = 400  # a run that takes longer hangs, be it one of eight on two busy cores


@dataclass(frozen=True)
class Result:
    """How a run ended and what it showed."""

    status: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def shown(self) -> str:
        """All that the run showed."""
        return self.stdout + self.stderr

    @property
    def error(self) -> str:
        """The one line of a run that failed; anything but one line fails the test.

        A line of Prefect's own log beside it tells of a busy server.
        """
        lines = [li for li in self.stderr.splitlines() if not _is_progress(li)]
        lines = [li for li in lines if not OF_PREFECT.match(li)]
        assert len(lines) == 1, self.shown
        assert lines[0].startswith("error: "), self.shown
        return lines[0]

    def ended(self, status: int) -> "Result":
        """Return the result itself, if the run ended with `status`."""
        assert self.status == status, f"exit {self.status}, expected {status}:\n{self.shown}"
        return self

    @property
    def tracebacks(self) -> list[str]:
        """The tracebacks that it showed, see `tracebacks`."""
        return tracebacks(self.shown)

    def stages(self, ending: str) -> list[str]:
        """Return the stages whose progress line ('12:00:01 scores  Cached, 9 rows') has a text."""
        lines = [li.split() for li in self.stderr.splitlines() if _is_progress(li) and ending in li]
        return [line[1].rstrip(":") for line in lines]


def tracebacks(shown: str) -> list[str]:
    """Return the tracebacks through our code; one of a thread of Prefect's is not the run's."""
    found = re.findall(r"^Traceback .*\n(?:[ \n].*\n?)+", shown, re.MULTILINE)
    return [text for text in found if any(f"/{name}/" in text for name in PACKAGES)]


def _is_progress(line: str) -> bool:
    return len(line) > 9 and line[2] == line[5] == ":" and line[8] == " "


@dataclass(frozen=True)
class Command:
    """`python -m flows.FLOW` in an environment of its own.

    Where `warm` is, a start is a fork of it, unless its environment is another. `of_models` gives
    one that has imported torch and TRL, too.
    """

    environment: Mapping[str, str]
    cwd: Path
    flow: str = "select"
    warm: Warm | None = None
    of_models: Callable[[], Warm] | None = None

    def cold(self) -> "Command":
        """Return the command whose every start is an interpreter of its own, as a user's."""
        return replace(self, warm=None)

    def of(self, flow: str) -> "Command":
        """Return the command of another flow."""
        return replace(self, flow=flow)

    def with_models(self) -> "Command":
        """Return the command for runs that train or load a model."""
        return replace(self, warm=self.of_models()) if self.of_models else self

    def within(self, cwd: Path) -> "Command":
        """Return the command in another folder, which is made."""
        cwd.mkdir(parents=True, exist_ok=True)
        return replace(self, cwd=cwd)

    def run(self, *flags: str | Path, env: Mapping[str, str] | None = None, **how: str) -> Result:
        """Run to the end; see `start`."""
        begun = time.monotonic()
        with self.start(*flags, env=env, **how) as process:
            return finish(process, begun)

    @contextmanager
    def start(
        self, *flags: str | Path, env: Mapping[str, str] | None = None, **how: str
    ) -> Iterator[Process]:
        """Start the command in a process group of its own, which ends with the block.

        Args:
            flags: of the command.
            env: variables on top of the usual ones; '' unsets one.
            how: what tests/tampered.py does to the disk (slow="0.05", kill="metrics:3").
        """
        how = {**how, "flow": self.flow} if how else {}
        tampered = [str(TAMPERED), *(f"{n}={v}" for n, v in how.items()), "--"] if how else []
        argv = [*(tampered or ["-m", f"flows.{self.flow}"]), *map(str, flags)]
        process = self._process(argv, {**self.environment, **(env or {})})
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()

    def _process(self, argv: list[str], environment: dict[str, str]) -> Process:
        environment = {n: v for n, v in environment.items() if v}
        if self.warm and self.warm.fits(environment):
            return self.warm.start(argv, self.cwd, environment)
        return subprocess.Popen(
            [sys.executable, *argv], cwd=self.cwd, env=environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip


def finish(process: Process, begun: float | None = None) -> Result:
    """Wait for a started command."""
    begun = time.monotonic() if begun is None else begun
    stdout, stderr = process.communicate(timeout=SECONDS)
    return Result(process.returncode, stdout, stderr, time.monotonic() - begun)


def until(true: Callable[[], bool], process: Process, seconds: float = SECONDS) -> None:
    """Wait for something that a running command does."""
    end = time.monotonic() + seconds
    while not true():
        assert process.poll() is None, f"ended with {process.returncode} before it was due"
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.005)


def shards(store: Path, stage: str) -> list[Path]:
    """Return the finished shard files of a stage, over all its artifacts."""
    return sorted((store / stage).glob("*/part-*.parquet"))


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file under a folder by its path in it, passing files of a killed run apart."""
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and not p.name.startswith(".tmp-")
    }


def read(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Yield every file under a folder of a living server; what it removes meanwhile is no file."""

    def gone(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    for parent, _, names in os.walk(folder, onerror=gone):
        for path in sorted(Path(parent, name) for name in names):
            try:
                data = path.read_bytes() if path.is_file() else None
            except FileNotFoundError:
                continue
            if data is not None:
                yield path, data


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Return (inode, time of the last write) of every file under a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            told = path.stat()
            found[str(path.relative_to(folder))] = (told.st_ino, told.st_mtime_ns)
    return found
