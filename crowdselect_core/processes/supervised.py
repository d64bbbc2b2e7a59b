"""A process that another one starts, waits for and ends, and of which nothing survives that one."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from crowdselect_core.processes import guard

MOST_BYTES = 64 * 1024  # of a log that are read for its last line
POLL = 0.2  # seconds between two looks at a process that starts
END_SECONDS = guard.GRACE + guard.LAST + 5.0  # for the guard to have ended everything


class NotReady(RuntimeError):
    """A process ended, or took too long, before it was ready.

    `why` says which of the two as words that follow the process's name.
    """

    def __init__(self, name: str, why: str, last_line: str, *, ended: bool) -> None:
        super().__init__(f"{name} {why}: {last_line}")
        self.why, self.ended = why, ended


WORKER = "RAY_RAYLET_PID"  # a variable that Ray sets for its workers


@dataclass
class SupervisedProcess:
    """One process in a session of its own, under a guard (see `guard`) that ends its whole group.

    Args:
        name: of the process, for messages.
        command: its words.
        environment: its whole environment.
        log: file that its output is appended to.
        output: file that its stdout is appended to; the log where None.
        healthy: says whether it works; asked while it starts.
        folder: where it works; here where None.
        abrupt: ended by SIGKILL at once, for a process that loses nothing by that.
        apart: its guard is no child of this process, which may kill its children when it ends, as
            a worker of Ray does.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    healthy: Callable[[], bool]
    folder: Path | None = None
    output: Path | None = None
    abrupt: bool = False
    apart: bool = field(default_factory=lambda: WORKER in os.environ)
    pid: int | None = None  # of the process, and of its group
    exit_code: int | None = None  # once it was ended; 128 + n where signal n ended it
    log_start: int = 0  # byte of the log where this start's output begins
    _guard: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    def start(self) -> None:
        """Start the process; `wait` waits until it works.

        Raises:
            OSError: the log cannot be written.
        """
        output = [str(self.output.absolute())] if self.output else []
        run = guard.APART if self.apart else str(os.getpid())
        watched = [sys.executable, "-I", "-S", guard.__file__, run, *output, "--"]
        with self.log.open("ab") as log:
            self.log_start = log.seek(0, 2)
            self._guard = subprocess.Popen(  # noqa: S603 - our own script
                [*watched, *self.command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=log, env=dict(self.environment), cwd=self.folder, start_new_session=True,
            )  # fmt: skip
        if self._guard.stdout is not None:
            said = self._guard.stdout.read(32)  # up to its end: at once, or when it gives up
            self.pid = int(said) if said.strip().isdigit() else None

    def wait(self, seconds: float) -> None:
        """Wait until it works; what `healthy` raises ends the waiting.

        Raises:
            NotReady: it ended, or does not work after `seconds`.
        """
        deadline = time.monotonic() + seconds
        while not self.healthy():
            if not self.runs():
                why = "ended before it was ready"
                raise NotReady(self.name, why, self.last_line(), ended=True)
            if time.monotonic() > deadline:
                why = f"was not ready after {seconds:g} s"
                raise NotReady(self.name, why, self.last_line(), ended=False)
            time.sleep(POLL)

    def runs(self) -> bool:
        """Say whether the process is there."""
        return self._guard is not None and self._guard.poll() is None

    def last_line(self) -> str:
        """Return the last line of its log, and where that lies."""
        with self.log.open("rb") as log:
            log.seek(max(0, log.seek(0, 2) - MOST_BYTES))
            lines = log.read().decode("utf-8", "replace").strip().splitlines()
        return f"{lines[-1].strip() if lines else 'it wrote nothing'} (see {self.log})"

    def end(self) -> None:
        """End the process and all that it started, and wait until they are gone."""
        if self._guard is None:
            return
        if self.abrupt and self.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        for pipe in (self._guard.stdin, self._guard.stdout):
            if pipe is not None:
                pipe.close()  # the guard's sign
        try:
            self._guard.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._guard.kill()
            self._guard.wait()
        self.exit_code = self._guard.returncode
        if self.exit_code < 0 and self.pid is not None:  # somebody killed the guard
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        self._guard = None
