"""Whether the whole command keeps its memory, descriptors and threads while it generates for hours.

    python -m benchmarks.soak_command [--minutes 30]

`flows.generate` with its temporary Prefect server asks the test endpoint (no model: its answers
cost a hash) at full rate, 32 requests in flight, for rows that do not end before the time is up.
So beside the engine and the store, which `benchmarks.soak` measures alone, the progress artifacts,
the log and Prefect's client are in it. Each minute a line tells resident memory, open descriptors
and threads of the run's process. The second minute is what the last one is compared with: in the
first the data set is read. It ends with 1 where memory has grown by more than 5 %, or where there
are more descriptors or threads.

The index of the cells grows by 20 bytes an answer, which is part of the figure. At the end the run
is stopped by SIGINT, as by Ctrl-C.
"""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.generation import CONCURRENCY, endpoint, write_rows
from benchmarks.measure import machine
from benchmarks.soak import MINUTE, Use, verdict

RATE = 1500  # answers a second, more than were ever seen here: the rows are enough
READ = 2  # minutes that the run has to read its data set


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


def watched(folder: Path, config: Path, minutes: int) -> list[Use]:
    """Run the command for so many minutes; return what it held at the end of each."""
    command = [sys.executable, "-m", "flows.generate", "--config", str(config)]
    with (folder / "log").open("w") as log:
        run = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        process, seen, started = psutil.Process(run.pid), list[Use](), time.monotonic()
        try:
            while len(seen) < minutes:
                time.sleep(max(started + MINUTE * (len(seen) + 1) - time.monotonic(), 0.0))
                if run.poll() is not None:
                    raise RuntimeError(
                        f"the run ended early: {(folder / 'log').read_text()[-800:]}"
                    )
                seen.append(use_of(process))
                print(f"  {len(seen)} min: {seen[-1]}", flush=True)
        finally:
            run.send_signal(signal.SIGINT)
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
    words, good = verdict(seen[READ - 1], seen[-1])
    print(f"{last}\nsince minute {READ} {words}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
