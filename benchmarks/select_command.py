"""CPU, time and peak memory of the whole `flows.select` on many rows, its Prefect server included.

    python -m benchmarks.select_command [--rows 10000000] [--width 0]

The table of scores of `benchmarks.ten_million` (19 models, no texts; with `--width` also vectors,
which are clustered) is selected from by one command with the usual settings, from reading the data
set to the files of the output. Beside it stands pyarrow's bare read of the same file, a row group
at a time. CPU is that of the command with its server and database; the peak is that of the largest
of these processes, which is the command itself.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.measure import machine
from benchmarks.ten_million import write_scores


def selected(folder: Path, width: int) -> tuple[float, float]:
    """Run the command; return its seconds and its processes' seconds of CPU."""
    clusters = ["--embedder", "column:vector"] if width else ["--clusters", "0"]
    command = [
        *(sys.executable, "-m", "flows.select", "--dataset", "scores.parquet", "--crowd", "paper"),
        *("--reward-model", "rm", "--budget", "1000", "--store", "store", "--out", "out"),
        *clusters,
    ]
    started = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, used.ru_utime + used.ru_stime


def bare(path: Path) -> float:
    """Read the file and do nothing with it; return the seconds of CPU."""
    began, file = time.process_time(), pq.ParquetFile(path)
    for group in range(file.num_row_groups):
        file.read_row_group(group)
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--width", type=int, default=0)
    args = parser.parse_args()
    print(machine("polars", "pyarrow", "prefect"), flush=True)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "scores.parquet"
        write_scores(path, args.rows, args.width)
        seconds, cpu = selected(Path(name), args.width)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        print(
            f"{args.rows:,} rows: {cpu:.0f} s of CPU in {seconds:.0f} s, peak {peak:.2f} GiB; "
            f"a bare read of the file {bare(path):.1f} s of CPU"
        )


if __name__ == "__main__":
    main()
