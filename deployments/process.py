"""A process of `make server` under a guard: it ends when the server ends, however that ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

from crowdselect_core.processes import guard

END_SECONDS = guard.GRACE + guard.LAST + 5.0  # for the guard to have ended everything
_direct = build_opener(ProxyHandler({}))  # loopback never goes through a proxy


class PartFailed(RuntimeError):
    """A part ended, or is not up in time."""


@dataclass
class Service:
    """One process, its log and how to tell that it works."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path  # where it works
    log: Path
    healthy: Callable[[], bool]
    abrupt: bool = False  # ended by SIGKILL: it loses nothing by that, and is slow otherwise
    pid: int | None = None
    _guard: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    def start(self) -> None:
        """Start the process; `wait` waits until it works."""
        watched = [sys.executable, "-I", "-S", guard.__file__, str(os.getpid()), "--"]
        with self.log.open("ab") as log:
            self._guard = subprocess.Popen(  # noqa: S603 - our own script
                [*watched, *self.command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=log, env=dict(self.environment), cwd=self.folder, start_new_session=True,
            )  # fmt: skip
        if self._guard.stdout is not None:
            told = self._guard.stdout.read(32)
            self.pid = int(told) if told.strip().isdigit() else None

    def wait(self, seconds: float) -> None:
        """Wait until it works.

        Raises:
            PartFailed: it ended, or does not work after `seconds`.
        """
        end = time.monotonic() + seconds
        while not self.healthy():
            if not self.runs():
                raise PartFailed(f"{self.name} exited at its start: {self.last_words()}")
            if time.monotonic() > end:
                raise PartFailed(f"{self.name} is not up after {seconds:g} s; see {self.log}")
            time.sleep(0.2)

    def runs(self) -> bool:
        """Say whether the process is there."""
        return self._guard is not None and self._guard.poll() is None

    def last_words(self) -> str:
        """Return the last line of its log."""
        lines = self.log.read_text("utf-8", "replace").strip().splitlines()
        return f"{lines[-1].strip() if lines else 'no output'} (see {self.log})"

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
        if self._guard.returncode < 0 and self.pid is not None:  # somebody killed the guard
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        self._guard = None


def answers(url: str) -> bool:
    """Say whether a server answers at a URL; a refusal is an answer."""
    try:
        _direct.open(url, timeout=5).close()
    except HTTPError as e:
        return e.code < 500
    except OSError:
        return False
    return True
