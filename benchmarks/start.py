"""Seconds from the command to the first stage and to the end, beside a bare Prefect flow.

    python -m benchmarks.start [--runs 5]

One run of each in turn, on one Prefect server that is started first, so that both pay the same.
`--ephemeral` lets each start its own server instead. A repeated selection (every stage Cached)
is held against an empty flow, `--help` against nothing.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from benchmarks.measure import machine, spread

BARE = """
import time
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

@task(cache_policy=NO_CACHE)
def one():
    print("FIRST", time.time(), flush=True)

@flow
def bare():
    one()

bare()
"""
PORT = 14207


def timed(command: list[str], environ: dict[str, str]) -> tuple[float | None, float]:
    """Run a command; return the seconds to its first stage (None if untold) and to its end."""
    started = time.time()
    first = None
    with subprocess.Popen(
        command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if first is None and re.search(r"FIRST|instructions +(Cached|\d)", line):
                first = time.time() - started
        if process.wait() != 0:
            raise SystemExit(f"{command[:4]} ended with {process.returncode}")
    return first, time.time() - started


@contextmanager
def server(home: Path) -> Iterator[dict[str, str]]:
    """Start a Prefect server on loopback; yield the environment that names it."""
    environ = os.environ | {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_LOGGING_LEVEL": "WARNING",
    }
    command = [sys.executable, "-m", "prefect", "server", "start"]
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(PORT)],
        env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    url = f"http://127.0.0.1:{PORT}/api"
    try:
        for _ in range(240):
            try:
                urlopen(f"{url}/health", timeout=1).close()  # noqa: S310 - our own server
                break
            except (URLError, OSError):
                time.sleep(0.5)
        yield environ | {"PREFECT_API_URL": url}
    finally:
        process.terminate()
        process.wait(timeout=30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--ephemeral", action="store_true")
    args = parser.parse_args()
    print(machine("prefect", "polars"))
    with tempfile.TemporaryDirectory() as folder, server(Path(folder) / "home") as environ:
        if args.ephemeral:
            environ.pop("PREFECT_API_URL")
        ours = [sys.executable, "-m", "flows.select", "--store", f"{folder}/store"]
        ours += ["--out", f"{folder}/out"]
        bare = [sys.executable, "-c", BARE]
        timed(ours, environ)  # fills the store: the runs below are repeated ones
        timed(bare, environ)
        pairs = [(timed(bare, environ), timed(ours, environ)) for _ in range(args.runs)]
    first = [(b[0] or 0.0, o[0] or 0.0) for b, o in pairs]
    whole = [(b[1], o[1]) for b, o in pairs]
    for name, values in (("to the first stage", first), ("a repeated run, whole", whole)):
        more = statistics.median(o - b for b, o in values)
        print(
            f"{name}: bare flow {spread([b for b, _ in values])} s, "
            f"selection {spread([o for _, o in values])} s, {more:+.2f} s"
        )
    helps = [timed([sys.executable, "-m", "flows.select", "--help"], dict(os.environ))[1]
             for _ in range(args.runs)]  # fmt: skip
    print(f"--help: {spread(helps)} s")


if __name__ == "__main__":
    main()
