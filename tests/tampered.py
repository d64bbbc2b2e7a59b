"""The command on a disk that is slow, or in a process that dies at a point that can be chosen.

Usage: tampered.py [slow=SECONDS] [kill=FOLDER:N] [journal=FILE] [patience=SECONDS] [opened=FILE]
[forgetful=1] [busy=PATH times=N [server_patience=SECONDS]] [flow=NAME] -- FLAGS

The command is flows.select, or another flow. A file gets its name by a hard link (in the store) or
a rename (in OUT), so that is where this looks: `slow` waits before every one, `kill` ends the
process as kill -9 does, right after the N-th file in FOLDER, a part of its path, has got its name.
`journal` adds a line to FILE for every shard whose computation begins; `patience` is what a bucket
that fails midway is given. `opened` writes the path of every file that the process opens to FILE,
one a line. `forgetful` loses what the Prefect server answers to the run's end. `busy` answers 503
to the Prefect server's first N calls whose path holds PATH (an expression: N of each text that it
matches), and `server_patience` is what each call is given.
"""

import logging
import os
import re
import runpy
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any

import httpx

from crowdselect_core.store.backend import remote

END = re.compile(rb'"type":\s*"(COMPLETED|FAILED)"')
_lock, _numbers = Lock(), count(1)


def main() -> None:
    """Tamper as told, then run the command."""
    cut = sys.argv.index("--")
    how = dict(arg.split("=", 1) for arg in sys.argv[1:cut])
    flow = how.get("flow", "select")
    sys.argv = [f"flows/{flow}.py", *sys.argv[cut + 1 :]]
    if "opened" in how:
        told(how["opened"])
    slow = float(how.get("slow", 0))
    folder, _, number = how.get("kill", "-:0").partition(":")
    if journal := how.get("journal"):
        keep_journal(Path(journal))
    if "forgetful" in how:
        forget()
    if path := how.get("busy"):
        busy(path, int(how["times"]), float(how.get("server_patience", 300)))
    if patience := how.get("patience"):
        remote.PATIENCE = float(patience)
    for name in ("link", "replace"):
        setattr(os, name, tampered(getattr(os, name), slow, folder, int(number)))
    runpy.run_module(f"flows.{flow}", run_name="__main__", alter_sys=True)


def forget() -> None:
    """Lose the server's answer to the end of the run: Prefect's client sends it once more."""
    real, lost = httpx.HTTPTransport.handle_request, count()

    def handle(self: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        response = real(self, request)
        ends = request.url.path.endswith("/set_state") and END.search(request.read())
        if ends and next(lost) == 0:
            raise httpx.ReadTimeout("the answer was lost", request=request)
        return response

    setattr(httpx.HTTPTransport, "handle_request", handle)  # noqa: B010 - a patch, and meant


def busy(path: str, times: int, patience: float) -> None:
    """Answer 503 to Prefect's clients as its server does: the first calls of each matching path."""
    real, real_async = (httpx.HTTPTransport.handle_request,
                        httpx.AsyncHTTPTransport.handle_async_request)  # fmt: skip
    refused: dict[str, Iterator[int]] = defaultdict(count)

    def answer(request: httpx.Request) -> httpx.Response | None:
        match = re.search(path, request.url.path)
        if match is None or next(refused[match.group()]) >= times:
            return None
        from tasks import server_patience  # not before: the command sets up Prefect first

        server_patience.PATIENCE, server_patience.LONGEST = patience, 0.1
        return httpx.Response(503, json={"exception_message": "Service Unavailable"})

    def handle(self: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        return answer(request) or real(self, request)

    async def handle_async(
        self: httpx.AsyncHTTPTransport, request: httpx.Request
    ) -> httpx.Response:
        return answer(request) or await real_async(self, request)

    setattr(httpx.HTTPTransport, "handle_request", handle)  # noqa: B010 - a patch, and meant
    setattr(httpx.AsyncHTTPTransport, "handle_async_request", handle_async)  # noqa: B010


def keep_journal(path: Path) -> None:
    """Write what the store's builds tell of single shards to a file, line by line."""
    lines = logging.FileHandler(path)
    lines.addFilter(lambda record: record.levelno == logging.DEBUG)
    logger = logging.getLogger("crowdselect.store")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(lines)


def told(file: str) -> None:
    """Note every file that is opened from here on, whoever opens it."""
    log = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(args[0], str | os.PathLike):
            os.write(log, f"{os.fspath(args[0])}\n".encode())

    sys.addaudithook(hook)


def tampered(real: Callable[..., None], slow: float, folder: str, number: int) -> Any:
    """Return a call that gives a file its name, and waits or dies."""

    def call(source: Any, target: Any, **options: Any) -> None:
        time.sleep(slow)
        if folder not in Path(target).parts:
            real(source, target, **options)
            return
        with _lock:  # no other file of the folder gets its name between this one and the end
            real(source, target, **options)
            if next(_numbers) == number:
                os.kill(os.getpid(), signal.SIGKILL)

    return call


if __name__ == "__main__":
    main()
