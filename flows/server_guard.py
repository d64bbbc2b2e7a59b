"""Ends the temporary Prefect server when the run that started it is gone, even by kill -9.

Prefect ends that server at an orderly exit of the run; this is for the others. A script of its own
that imports nothing of the project:

    python -I -S server_guard.py RUN_PID MARK

stdin is a pipe whose write end only the run holds. When it closes, or the run is gone, servers
in whose environment MARK_NAME has the value MARK get SIGTERM, and SIGKILL after GRACE
seconds. It needs /proc; without it, nothing is ended.
"""

import os
import select
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

MARK_NAME = "PREFECT_SERVER_OF_RUN"
GRACE = 5.0  # seconds between SIGTERM and SIGKILL
TICK = 0.5  # seconds between two checks of the run


def main(run: int, mark: str) -> None:
    """Wait for the end of the run, then end its server."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # meant for the run: its end ends us
    while not _is_gone(run):
        pass
    deadline = time.monotonic() + GRACE
    for number in (signal.SIGTERM, signal.SIGKILL):
        for server in servers(mark):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(server, number)
        while servers(mark) and time.monotonic() < deadline:
            time.sleep(TICK / 5)


def servers(mark: str) -> list[int]:
    """Return the process ids of the servers that have a mark."""
    wanted = f"{MARK_NAME}={mark}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is another user's
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                command = (folder / "cmdline").read_bytes()
                if b"prefect.server.api.server" in command:
                    found.append(int(folder.name))
    return found


def _is_gone(run: int) -> bool:
    readable, _, _ = select.select([0], [], [], TICK)
    return (bool(readable) and not os.read(0, 1)) or os.getppid() != run


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
