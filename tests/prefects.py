"""A real Prefect server for the tests, on loopback only."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from servers import BIN, LOCAL, UP, answers, free_port, quiet_environment, wait_until_ready

# Loops for deployments, schedules and triggers, of which the runs of this server have none.
UNUSED = ("SCHEDULER", "LATE_RUNS", "FOREMAN", "PAUSE_EXPIRATIONS", "CANCELLATION_CLEANUP",
          "TRIGGERS")  # fmt: skip
CALM = Path(__file__).parent / "calm_prefect.py"
CACHE = Path(__file__).parent.parent / ".pytest_cache"


@dataclass
class PrefectServer:
    """A running Prefect server with a database of its own."""

    api: str
    started: "Future[subprocess.Popen[bytes]]"

    @classmethod
    def launch(cls, folder: Path) -> "PrefectServer":
        """Launch the server in the background; it is up after some seconds."""
        port, pool = free_port(), ThreadPoolExecutor(1)
        started = pool.submit(_start_prefect, folder, port)
        pool.shutdown(wait=False)
        return cls(f"http://{LOCAL}:{port}/api", started)

    def wait(self) -> "PrefectServer":
        """Wait until the server is up."""
        wait_until_ready(self.started.result(), lambda: answers(f"{self.api}/health"), UP)
        return self

    def stop(self) -> None:
        """End the server and the process that it keeps for its API (both are our group)."""
        process = self.started.result()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=240)


def _start_prefect(folder: Path, port: int) -> "subprocess.Popen[bytes]":
    lay_database(folder / "prefect")
    quiet = {
        "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
        "PREFECT_SERVER_UI_ENABLED": "false",
        "PREFECT_SERVER_DATABASE_TIMEOUT": "60",  # SQLite's wait for its lock
        **{f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "false" for name in UNUSED},
    }
    with (folder / "prefect.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, CALM, "server", "start", "--host", LOCAL, "--port", str(port)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder,
            env=quiet_environment(folder) | quiet, start_new_session=True,
        )  # fmt: skip


def lay_database(home: Path) -> None:
    """Copy a database that has Prefect's tables into a PREFECT_HOME that has none yet.

    At the first start of a server Prefect makes them, one migration after the other, which takes
    10 s of a core. Here that is done once, for all processes of pytest-xdist and for later runs.
    """
    made = CACHE / f"prefect-{version('prefect')}.db"
    CACHE.mkdir(parents=True, exist_ok=True)
    with Path(f"{made}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            with tempfile.TemporaryDirectory(prefix="prefect-") as folder:
                subprocess.run(
                    [BIN / "prefect", "server", "database", "upgrade", "--yes"], cwd=folder,
                    env=quiet_environment(Path(folder)), stdin=subprocess.DEVNULL, check=True,
                    capture_output=True,
                )  # fmt: skip
                shutil.copy(Path(folder, "prefect", "prefect.db"), f"{made}.new")
            Path(f"{made}.new").replace(made)
    home.mkdir(parents=True)
    shutil.copy(made, home / "prefect.db")
