"""A real PostgreSQL in a temporary folder, on loopback; it refuses to run as root."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from servers import LOCAL, free_port


def binaries() -> Path | None:
    """Return the folder with initdb and postgres, None where there is none."""
    beside = shutil.which("initdb")
    found = [Path(beside).parent] if beside else []
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in found if (folder / "postgres").exists()), None)


@contextmanager
def running(programs: Path) -> Iterator[str]:
    """Run a server while the block runs; the value is the URL for Prefect."""
    user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    folder, port = Path(tempfile.mkdtemp(prefix="pg-")), free_port()
    shutil.chown(folder, user)
    data = folder / "data"
    how = {"user": user} if os.geteuid() == 0 else {}
    quiet = {"stdout": subprocess.DEVNULL, "cwd": folder, **how}
    initdb = [programs / "initdb", "-D", data, "-U", "prefect", "--auth=trust", "-E", "UTF8"]
    subprocess.run([*initdb, "--no-sync"], check=True, **quiet)  # type: ignore[call-overload]
    options = f"-h {LOCAL} -p {port} -k {folder} -c fsync=off"
    ctl = [programs / "pg_ctl", "-D", data, "-w", "-t", "240"]
    log = ["-l", folder / "log"]
    subprocess.run([*ctl, *log, "-o", options, "start"], check=True, **quiet)  # type: ignore[call-overload]
    try:
        yield f"postgresql+asyncpg://prefect@{LOCAL}:{port}/postgres"
    finally:
        subprocess.run([*ctl, "-m", "immediate", "stop"], check=True, **quiet)  # type: ignore[call-overload]
        shutil.rmtree(folder)
