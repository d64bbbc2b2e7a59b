"""The process that runs a reward function: one row in, one score out, over two pipes.

Every message is four bytes of length (big-endian) and that many bytes of JSON. The pipes are taken
off the function's hands first: what it prints goes to stderr, and it reads nothing. The process
ends with its parent, even where that was killed and even where the function hangs.

    python -m crowdselect_core.reward.function.worker PARENT_PID
"""

import asyncio
import ctypes
import importlib
import inspect
import json
import math
import os
import signal
import sys
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, BinaryIO

from crowdselect_core.errors import first_line

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def packed(message: dict[str, Any]) -> bytes:
    """Return a message as bytes with their length before them.

    Raises:
        TypeError, ValueError: a value that JSON has no form for.
    """
    content = json.dumps(message).encode("ascii")
    return len(content).to_bytes(4, "big") + content


def main() -> None:
    """Import the function that the first message names, then score rows until stdin ends."""
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    _end_with(int(sys.argv[1]))
    rows: SimpleQueue[dict[str, Any]] = SimpleQueue()
    Thread(target=_watch, args=(requests, rows), daemon=True).start()
    setup = rows.get()
    sys.path[:] = setup["search"]
    try:
        function = _load(setup["path"])
    except BaseException as e:  # SystemExit too: whatever an import raises is told
        _send(replies, {"refused": told(e)})
        return
    _send(replies, {"ready": True})
    me = os.getpid()
    while True:
        row = rows.get()
        verdict = _score(function, row["arguments"])
        if os.getpid() != me:  # the function forked, and this is the copy
            os._exit(0)
        _send(replies, {"id": row["id"], **verdict})


def told(error: BaseException) -> str:
    """Return the kind of an error and its first line, even where it cannot say itself."""
    kind = type(error).__name__
    try:
        return f"{kind}: {first_line(error)}"
    except Exception:
        return f"{kind}: its message cannot be shown"


def _load(path: str) -> Callable[..., Any]:
    module, _, name = path.partition(":")
    function = getattr(importlib.import_module(module), name, None)
    if not callable(function):
        raise TypeError(f"module {module} has no function {name}")
    return function  # type: ignore[no-any-return]


def _score(function: Callable[..., Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """Call the function with one row and return {score}, or {code, why}."""
    try:
        result = function(**arguments)
        if inspect.isawaitable(result):
            result = asyncio.run(_awaited(result))
    except BaseException as e:  # SystemExit too: a row never ends the worker
        return {"code": "function_error", "why": told(e)}
    try:
        (value,) = result
    except Exception:
        why = f"returned {type(result).__name__}, expected a list of one number"
        return {"code": "not_a_number", "why": why}
    if value is None:
        return {"code": "no_score", "why": "the function returned None"}
    try:
        if isinstance(value, str | bytes):
            raise TypeError
        score = float(value)
    except Exception:
        why = f"returned [{type(value).__name__}], expected a list of one number"
        return {"code": "not_a_number", "why": why}
    if not math.isfinite(score):
        return {"code": "not_a_number", "why": f"returned [{score}]"}
    return {"score": score}


async def _awaited(result: Any) -> Any:
    return await result


def _send(replies: BinaryIO, message: dict[str, Any]) -> None:
    replies.write(packed(message))
    replies.flush()


def _watch(requests: BinaryIO, rows: "SimpleQueue[dict[str, Any]]") -> None:
    """Queue the rows that arrive, and end the process when no more can."""
    while len(head := requests.read(4)) == 4:
        rows.put(json.loads(requests.read(int.from_bytes(head, "big"))))
    os._exit(0)


def _end_with(parent: int) -> None:
    """Have the kernel kill this process with its parent: a hung C call hears nothing else.

    Linux only; elsewhere the end of stdin has to do, which `_watch` waits for.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:  # it died before the kernel was told
        os._exit(0)


if __name__ == "__main__":
    main()
