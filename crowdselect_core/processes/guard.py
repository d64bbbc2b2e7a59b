"""The process that ends a server when the run ends, however the run ends.

It starts a command in a session of its own and holds the read end of a pipe whose write end only
the run holds. When that end closes (kill -9 of the run included), when the run is gone, or on
SIGTERM, the command's whole process group gets SIGTERM, and SIGKILL after GRACE seconds. Where the
command ends by itself, what is left of its group is ended in the same way. On Linux so are
processes that it put into groups of their own (a Prefect worker does that to its runs), once they
are orphans. The exit code is the command's, 128 + n where signal n ended it, 127 where it could
not be started. On Linux the command gets SIGTERM also when this process is killed.

A script of its own that imports nothing of the project, so that it is up at once:

    python -I -S guard.py RUN_PID [FILE] -- COMMAND...

With `apart` in the place of RUN_PID it is the child of what was started, which waits for it and
ends with its exit code: a Ray worker that ends kills its children first, and so not the guard.

stdin is the pipe, stdout is told the process id of the command and closed, stderr becomes the
command's stdout and stderr; with FILE the command's stdout is appended there. Where stderr is a
file that is appended to, a log, it is cut to its last KEPT_LOG bytes whenever it has MOST_LOG: a
server that runs for days must not fill the disk.
"""

import ctypes
import fcntl
import os
import select
import signal
import stat
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType

GRACE = 10.0  # seconds between SIGTERM and SIGKILL
LAST = 5.0  # seconds for a killed group to vanish: a process in the kernel may take its time
MOST_LOG, KEPT_LOG = 64 << 20, 8 << 20  # bytes of a log, and those left of one that is full
TICK = 0.1  # seconds between two looks
APART = "apart"
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h


class Guard:
    """One command and its process group."""

    def __init__(self, run: int, output: str | None = None) -> None:
        self._run, self._output = run, output
        self._told_to_end = False
        self._group = 0
        self._status: int | None = None  # of the command, as waitpid gives it

    def main(self, command: list[str]) -> int:
        """Run the command until it ends or has to; return the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._end_soon)  # not ignored: the command would inherit that
        if sys.platform == "linux":  # orphans of the group come to us, so that we see them end
            ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
        try:
            self._group = self._started(command)
        except OSError as e:
            print(f"OSError: {e.strerror}: {e.filename or command[0]!r}", file=sys.stderr)
            return 127
        with suppress(OSError):  # the run may be gone already
            os.write(1, b"%d\n" % self._group)
        os.close(1)
        while self._status is None and not self._told_to_end and not self._run_is_gone():
            self._reap()
            cut(2)
        self._end()
        code = os.waitstatus_to_exitcode(self._status) if self._status is not None else -9
        return 128 - code if code < 0 else code

    def _started(self, command: list[str]) -> int:
        """Start the command; return its process id, which is its group's too."""
        out = 2
        if self._output is not None:
            out = os.open(self._output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        own = os.getpid()

        def dies_with_us() -> None:  # we have one thread: code before exec is safe
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != own:
                os._exit(128 + signal.SIGTERM)

        linux = sys.platform == "linux"
        return subprocess.Popen(  # noqa: S603 - the run's own command
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=2, start_new_session=True,
            preexec_fn=dies_with_us if linux else None,
        ).pid  # fmt: skip

    def _end_soon(self, number: int, frame: FrameType | None) -> None:
        self._told_to_end = True

    def _run_is_gone(self) -> bool:
        """Wait a moment for the pipe to close; a fork of the run may hold it, so look there too."""
        readable, _, _ = select.select([0], [], [], TICK)
        return (bool(readable) and not os.read(0, 1)) or os.getppid() != self._run

    def _end(self) -> None:
        for number, seconds in ((signal.SIGTERM, GRACE), (signal.SIGKILL, LAST)):
            deadline = time.monotonic() + seconds
            present = self._signal(number)
            told: set[int] = set()
            while (strays := self._strays()) or present:
                for stray in strays - told:
                    with suppress(ProcessLookupError, PermissionError):
                        os.kill(stray, number)
                told |= strays
                if time.monotonic() > deadline:
                    break
                time.sleep(TICK / 2)
                self._reap()
                present = self._signal(0)
            else:
                return

    def _signal(self, number: int) -> bool:
        """Signal the whole group; False when nobody is left in it."""
        try:
            os.killpg(self._group, number)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    def _strays(self) -> set[int]:
        """Return our children outside of the group: orphans that the command left."""
        try:
            told = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
        except OSError:  # no Linux, or a kernel that does not list children
            return set()
        return {child for child in map(int, told.split()) if self._is_astray(child)}

    def _is_astray(self, child: int) -> bool:
        try:
            return os.getpgid(child) != self._group
        except ProcessLookupError:
            return False

    def _reap(self) -> None:
        """Collect every child that has ended; a zombie would count as one of its group."""
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG)) != (0, 0):
                if ended[0] == self._group:
                    self._status = ended[1]


def cut(log: int, most: int = MOST_LOG, kept: int = KEPT_LOG) -> None:
    """Leave the last lines of a log that is full; what is written at this moment may be lost."""
    told = os.fstat(log)
    appended = fcntl.fcntl(log, fcntl.F_GETFL) & os.O_APPEND  # or writers would leave a hole
    if told.st_size < most or not stat.S_ISREG(told.st_mode) or not appended:
        return
    last = b""
    # Without /proc nothing is left of it.
    with suppress(OSError), Path(f"/proc/self/fd/{log}").open("rb") as whole:
        whole.seek(told.st_size - kept)
        last = whole.read().partition(b"\n")[2]
    with suppress(OSError):  # a full disk: the server's own lines are lost, too
        os.ftruncate(log, 0)
        os.write(log, b"(older lines were cut off)\n" + last)


def run_of(word: str) -> int:
    """Return the process that is watched; with APART, this one, and go on in a child."""
    if word != APART:
        return int(word)
    run = os.getpid()
    child = os.fork()
    if not child:
        return run
    os.close(0)  # the pipes are the child's
    os.close(1)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) % 256)


if __name__ == "__main__":
    at = sys.argv.index("--")
    sys.exit(Guard(run_of(sys.argv[1]), *sys.argv[2:at]).main(sys.argv[at + 1 :]))
