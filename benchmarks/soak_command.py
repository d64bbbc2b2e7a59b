"""Whether the whole command keeps its memory, descriptors and threads while it generates for hours.

    python -m benchmarks.soak_command [--minutes 30]

`flows.generate` with its temporary Prefect server asks the test endpoint (no model: its answers
cost a hash) at full rate, 32 requests in flight, for rows that do not end before the time is up.
So beside the engine and the store, which `benchmarks.soak` measures alone, the progress artifacts,
the log and Prefect's client are in it. From the first answers on a line each minute tells resident
memory, open descriptors and threads of the run's process. It ends with 1 where memory has grown by
more than 5 % since the first minute, or where there are more descriptors or threads than then.

The index of the cells grows by 20 bytes an answer, which is part of the figure. At the end the run
is stopped by SIGTERM.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.generation import CONCURRENCY, endpoint, write_rows
from benchmarks.measure import machine
from benchmarks.soak import MINUTE, Use, verdict

RATE = 1000  # answers a second, more than were ever seen here: the rows are enough
ANSWERING = "responses"  # the stage, in the log's lines of progress
LOOK = 1.0  # seconds between two looks whether it has begun


def use_of(process: psutil.Process) -> Use:
    """Return what a process holds at a moment."""
    with process.oneshot():
        memory = process.memory_info().rss / 2**20
        return Use(memory, process.num_fds(), process.num_threads())


def write_config(folder: Path, url: str, rows: int) -> Path:
    """Write the data set and a config of one model behind the endpoint."""
    write_rows(folder / "data.jsonl", rows)
    engine = {"kind": "openai", "base_url": url, "concurrency": CONCURRENCY}
    keys = {
        "dataset": "data.jsonl", "store": "store", "out": "out",
        "crowd": [{"name": "model", "family": "f", "size": 1, "engine": engine}],
    }  # fmt: skip
    path = folder / "config.yaml"
    path.write_text(json.dumps(keys))  # JSON is YAML
    return path


def said(folder: Path, run: subprocess.Popen[bytes]) -> str:
    """Return what the run has logged; RuntimeError where it has ended."""
    log = (folder / "log").read_text()
    if run.poll() is not None:
        raise RuntimeError(f"the run ended early: {log[-800:]}")
    return log


def watched(folder: Path, config: Path, minutes: int) -> list[Use]:
    """Run the command for so many minutes; return what it held at the end of each."""
    command = [sys.executable, "-m", "flows.generate", "--config", str(config)]
    with (folder / "log").open("w") as log:
        run = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        process, seen = psutil.Process(run.pid), list[Use]()
        try:
            while ANSWERING not in said(folder, run):
                time.sleep(LOOK)
            started = time.monotonic()
            while len(seen) < minutes:
                time.sleep(max(started + MINUTE * (len(seen) + 1) - time.monotonic(), 0.0))
                said(folder, run)
                seen.append(use_of(process))
                print(f"  {len(seen)} min: {seen[-1]}", flush=True)
        finally:
            run.terminate()
            run.wait()
    return seen


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=int, default=30)
    args = parser.parse_args()
    print(machine("aiohttp", "polars", "prefect"), flush=True)
    with tempfile.TemporaryDirectory() as name, endpoint() as url:
        config = write_config(Path(name), url, int(args.minutes * MINUTE * RATE))
        seen = watched(Path(name), config, args.minutes)
        last = (Path(name) / "log").read_text().strip().splitlines()[-1]
    words, good = verdict(seen[0], seen[-1])
    print(f"{last}\nsince the first minute {words}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
