"""The temporary Prefect server of a run without PREFECT_API_URL: what it logs becomes lines.

The server writes its log with whole tracebacks to the stderr of the run, for instance when its
SQLite database was locked for a moment, which it handles by itself. Here every record becomes one
line of our log, until the run has ended: what the server says of its own end is of no use.
"""

import logging
import os
import re
import select
from collections.abc import Callable, Iterator
from subprocess import Popen
from threading import Event, Thread
from typing import Any

from prefect.server.api.server import SubprocessASGIServer

from crowdselect_core.util.text import plain

log = logging.getLogger("crowdselect")

QUIET_SECONDS = 0.5  # without another line, after which a record is whole
LONGEST = 400  # characters of a record's line
LOCKED = "database is locked"
# '12:00:01.123 | ERROR   | prefect.server.services.scheduler - message'
HEADER = re.compile(r"\d\d:\d\d:\d\d\.\d{3} \| (?P<level>[A-Z]+) +\| (?P<message>.*)")
CAUSE = re.compile(r"[A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit|Timeout)\b.*")


class TemporaryServer(SubprocessASGIServer):
    """Prefect's own temporary server, its stderr in a pipe that a thread reads."""

    ended = Event()  # set when the run has ended

    def _run_uvicorn_command(self) -> "Popen[Any]":
        reading, writing = os.pipe()
        own = os.dup(2)
        os.dup2(writing, 2)  # the server inherits stderr: there is no other way to set it
        try:
            server = super()._run_uvicorn_command()
        finally:
            os.dup2(own, 2)
            os.close(own)
            os.close(writing)
        Thread(
            target=follow, args=(reading, _log, self.ended), name="server-log", daemon=True
        ).start()
        return server


def install(ended: Event) -> None:
    """Have Prefect start its temporary server, if it starts one, as a `TemporaryServer`.

    Prefect asks for its one instance by the class, which returns the instance that exists.

    Args:
        ended: set when the run has ended.
    """
    TemporaryServer.ended = ended
    TemporaryServer()


def follow(pipe: int, say: Callable[[str], None], ended: Event) -> None:
    """Call `say` with one line per record that comes through a pipe, until it is closed.

    Args:
        pipe: to read from.
        say: what is called.
        ended: once it is set, records that begin are read and dropped.
    """
    with open(pipe, "rb", buffering=0) as stream:
        record: list[str] = []
        for line in _lines(stream.fileno()):
            if record and (line is None or HEADER.match(line)):
                say(summary(record))
                record = []
            if line is not None and line.strip() and (record or not ended.is_set()):
                record.append(line)
        if record:
            say(summary(record))


def summary(record: list[str]) -> str:
    """Return one line for a log record: its message, and the cause at its traceback's end."""
    head = HEADER.match(record[0])
    message = head["message"] if head else ""
    if any(LOCKED in line for line in record):
        return "its SQLite database was locked; the server tries again by itself"
    causes = [line for line in record[1 if head else 0 :] if CAUSE.match(line)]
    cause = causes[-1] if causes else "" if head else record[-1].strip()
    return plain(": ".join(part for part in (message, cause) if part))[:LONGEST]


def _lines(pipe: int) -> Iterator[str | None]:
    """Yield the lines of a pipe; None when none came for QUIET_SECONDS."""
    rest = b""
    while True:
        ready, _, _ = select.select([pipe], [], [], QUIET_SECONDS)
        if not ready:
            yield None
            continue
        data = os.read(pipe, 65536)
        if not data:
            break
        *lines, rest = (rest + data).split(b"\n")
        yield from (line.decode("utf-8", "replace") for line in lines)
    if rest:
        yield rest.decode("utf-8", "replace")


def _log(line: str) -> None:
    log.warning("temporary Prefect server: %s", line)
