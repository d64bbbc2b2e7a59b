"""What Prefect's temporary server logs becomes lines: a traceback of it is one of them."""

import os
import subprocess
import sys
from pathlib import Path
from threading import Event

from command import ROOT
from servers import quiet_environment

from flows.temporary_server import follow

LOCKED = """\
12:00:01.123 | ERROR   | prefect.server.services.scheduler - Unexpected error in: OperationalError
Traceback (most recent call last):
  File "sqlalchemy/engine/base.py", line 1969, in _exec_single_context
    self.dialect.do_execute(
sqlite3.OperationalError: database is locked

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "prefect/server/services/base.py", line 120, in run
    await self.run_once()
sqlalchemy.exc.OperationalError: (sqlite3.OperationalError) database is locked
[SQL: PRAGMA journal_mode = WAL;]
(Background on this error at: https://sqlalche.me/e/20/e3q8)
"""
OTHER = """\
12:00:02.000 | ERROR   | prefect.server - The disk\x1b[2J failed
Traceback (most recent call last):
  File "x.py", line 1, in run
    raise OSError(28)
OSError: [Errno 28] No space left on device
12:00:03.000 | WARNING | prefect.server - One line
"""
BARE = """\
Traceback (most recent call last):
  File "x.py", line 1, in run
ModuleNotFoundError: No module named 'greenlet'
"""


def followed(*texts: str, ended: bool = False) -> list[str]:
    """Return the lines that come of what a server writes to its stderr."""
    over = Event()
    if ended:
        over.set()
    reading, writing = os.pipe()
    for text in texts:
        os.write(writing, text.encode())
    os.close(writing)
    lines: list[str] = []
    follow(reading, lines.append, over)
    return lines


def test_a_locked_database_is_one_line() -> None:
    (line,) = followed(LOCKED)
    assert line == "its SQLite database was locked; the server tries again by itself"


def test_every_record_is_one_line_with_its_cause() -> None:
    assert followed(OTHER, LOCKED) == [
        "prefect.server - The disk\\x1b[2J failed: OSError: [Errno 28] No space left on device",
        "prefect.server - One line",
        "its SQLite database was locked; the server tries again by itself",
    ]


def test_a_traceback_without_a_record_is_its_last_line() -> None:
    assert followed(BARE) == ["ModuleNotFoundError: No module named 'greenlet'"]


def test_what_is_cut_off_is_said() -> None:
    assert followed("uvicorn: bad option") == ["uvicorn: bad option"]


def test_what_the_server_says_after_the_run_is_dropped() -> None:
    assert followed(OTHER, BARE, ended=True) == []


PROGRAM = """
import logging, os, sys, threading
from flows import temporary_server
from prefect.server.api.server import SubprocessASGIServer

logging.basicConfig(format="%(message)s", stream=sys.stdout)
temporary_server.install(threading.Event())
server = SubprocessASGIServer()
assert type(server) is temporary_server.TemporaryServer
sys.executable = os.path.abspath("python.sh")  # what is started in the server's place
server.port = 1
process = server._run_uvicorn_command()
process.wait()
for thread in threading.enumerate():
    if thread.name == "server-log":
        thread.join(60)
print("own stderr", file=sys.stderr)
"""


def test_the_server_that_prefect_starts_writes_to_the_log(tmp_path: Path) -> None:
    """A script in the server's place writes its traceback; the run's own stderr is as before."""
    (tmp_path / "log.txt").write_text(LOCKED)
    script = tmp_path / "python.sh"
    script.write_text("#!/bin/sh\ncat log.txt >&2\n")
    script.chmod(0o755)
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True, check=True,
        env=quiet_environment(tmp_path) | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert ended.stderr == "own stderr\n"
    assert ended.stdout == (
        "temporary Prefect server: its SQLite database was locked; the server tries again by "
        "itself\n"
    )
