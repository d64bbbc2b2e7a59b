"""The process that runs a ranking function of the user's: a table in, one number a row out.

stdin: four bytes of length (big-endian), so many bytes of JSON {path, search}, then the table as
parquet; without a table the function is only imported. stdout: a parquet table with the column
`score`. What goes wrong is the last line of
stderr, with exit 1. The pipes are taken off the function's hands first: what it prints goes to
stderr.

    python -m crowdselect_core.selection.methods.own_worker PARENT_PID
"""

import ctypes
import importlib
import io
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def packed(path: str, search: Sequence[str]) -> bytes:
    """Return the head of what the process reads."""
    content = json.dumps({"path": path, "search": list(search)}).encode("ascii")
    return len(content).to_bytes(4, "big") + content


def end(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process and what it started, if it still runs, and wait for its end."""
    if process.returncode is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def main() -> None:
    """Read the table, call the function, write its scores."""
    data = os.fdopen(os.dup(0), "rb").read()
    replies = os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    _end_with(int(sys.argv[1]))
    length = int.from_bytes(data[:4], "big")
    setup = json.loads(data[4 : 4 + length])
    import polars as pl

    sys.path[:] = setup["search"]
    function = _load(setup["path"])
    if not (content := data[4 + length :]):
        return
    table = pl.read_parquet(io.BytesIO(content))
    scores = checked(function(table), table.height)
    pl.DataFrame({"score": pl.Series(scores, dtype=pl.Float64)}).write_parquet(replies)
    replies.close()


def checked(returned: Any, rows: int) -> list[float | None]:
    """Return what a function returned as one number a row; None and NaN are no score.

    Raises:
        TypeError: it is no list of numbers.
        ValueError: it has another length, or an infinite number.
    """
    try:
        found = [None if v is None else _number(v) for v in returned]
    except TypeError:
        kind = type(returned).__name__
        raise TypeError(f"returned {kind}, expected one number (or None) a row") from None
    if len(found) != rows:
        raise ValueError(f"returned {len(found)} numbers for {rows} rows, expected one each")
    if any(v is not None and math.isinf(v) for v in found):
        raise ValueError("returned an infinite number, expected finite ones or None")
    return [None if v is None or math.isnan(v) else v for v in found]


def _number(value: Any) -> float:
    if isinstance(value, str | bytes):
        raise TypeError
    return float(value)


def _load(path: str) -> Callable[..., Any]:
    module, _, name = path.partition(":")
    function = getattr(importlib.import_module(module), name, None)
    if not callable(function):
        raise TypeError(f"module {module} has no function {name}")
    return function  # type: ignore[no-any-return]


def _end_with(parent: int) -> None:
    """Have the kernel kill this process with its parent. Linux only."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:
        os._exit(0)


if __name__ == "__main__":
    main()
