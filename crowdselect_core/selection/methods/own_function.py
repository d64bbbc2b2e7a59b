"""A method of the user's own, module:function, run in a process of its own.

    def rank(table: polars.DataFrame) -> Sequence[float | None]

It is given the ranking's rows that may be chosen (tables.RANKING without cluster_id, score,
eligible and reason), in the order of their ids, and returns a number for each, in that order;
higher is chosen first. The module is looked for as a reward function's is: in the working
directory, then on sys.path.
"""

import io
import os
import subprocess
import sys
from collections.abc import Sequence
from tempfile import TemporaryFile
from threading import Thread
from typing import IO

import polars as pl

from crowdselect_core.errors import ConfigError
from crowdselect_core.processes.last_words import last_line
from crowdselect_core.selection.methods import own_worker
from crowdselect_core.store import safe_parquet
from crowdselect_core.util.text import plain

MOST_STDERR = 64 * 1024  # bytes of its stderr that are kept, the last ones
REPLY_BYTES = (1 << 20, 64)  # of a reply: at most so many, and so many a row

NOT_GIVEN = ("cluster_id", "score", "eligible", "reason")


def own_scores(
    path: str, ranking: pl.DataFrame, search: Sequence[str], seconds: float
) -> pl.Series:
    """Return what the function gives the eligible rows of a ranking, null for the others.

    Args:
        path: module:function.
        ranking: tables.RANKING; its scores are not shown to the function.
        search: where the module is looked for.
        seconds: time limit of the import and the call.

    Raises:
        ConfigError: it cannot be imported, raises, takes too long, or returns no such list.
    """
    rows = ranking.filter("eligible").drop(NOT_GIVEN).sort("instruction_id")
    buffer = io.BytesIO()
    rows.write_parquet(buffer)
    most = REPLY_BYTES[0] + REPLY_BYTES[1] * rows.height
    reply = _replied(path, search, buffer.getvalue(), seconds, most)
    try:
        found = safe_parquet.decode(reply, rows=rows.height, schema={"score": pl.Float64})
    except safe_parquet.Unreadable as e:
        raise ConfigError(f"method {path}: its process returned no scores: the reply {e}") from None
    own = rows.select("instruction_id").hstack(found)
    return ranking.select("instruction_id").join(
        own, on="instruction_id", how="left", maintain_order="left"
    )["score"]


def check_import(path: str, search: Sequence[str], seconds: float) -> None:
    """Import the function in a process of its own, and call nothing.

    Raises:
        ConfigError: it cannot be imported, or that takes too long.
    """
    _replied(path, search, b"", seconds)


def _replied(
    path: str, search: Sequence[str], table: bytes, seconds: float, most: int = 0
) -> bytes:
    """Return what the worker writes for a table, at most so many bytes.

    Its input and reply are files that have no name, so that nothing that it prints fills memory.
    """
    command = [sys.executable, "-m", own_worker.__name__, str(os.getpid())]
    with TemporaryFile() as given, TemporaryFile() as reply:
        given.write(own_worker.packed(path, search) + table)
        given.seek(0)
        process = subprocess.Popen(  # noqa: S603 - our own module
            command, stdin=given, stdout=reply, stderr=subprocess.PIPE, start_new_session=True
        )
        words = _Words(process.stderr)
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise ConfigError(
                f"method {path}: no scores within {seconds:g} s (time_limit)"
            ) from None
        finally:
            own_worker.end(process)
        if process.returncode != 0:
            said = plain(last_line(words.last())) or f"exit {process.returncode}"
            raise ConfigError(f"method {path}: {said}")
        reply.seek(0)
        return reply.read(most)


class _Words:
    """The last of what a process writes to a pipe, read as it comes."""

    def __init__(self, pipe: IO[bytes] | None) -> None:
        self._pipe, self._last = pipe, b""
        self._thread = Thread(target=self._read, name="own-function", daemon=True)
        self._thread.start()

    def last(self) -> bytes:
        """Return it; a process that outlives its parent may hold the pipe open."""
        self._thread.join(timeout=5)
        return self._last

    def _read(self) -> None:
        if self._pipe is not None:
            with self._pipe:
                while part := self._pipe.read1(65536):  # type: ignore[attr-defined]
                    self._last = (self._last + part)[-MOST_STDERR:]
