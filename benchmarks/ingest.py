"""Ingest of scores alone from parquet: the stages `instructions` and `scores` beside bare pyarrow.

    python -m benchmarks.ingest [--rows 1000000] [--rounds 3]

A zoo of ids and one score of each of 19 models is written, no texts. In turn and in a process each,
pyarrow reads all columns row group by row group and drops them, and the two stages read it into a
new store: ids compared and kept, scores checked, shards written with their sha256. The figure is
the CPU time of ours over that of pyarrow; imports are not counted. Where others use the machine,
trust the ratio. 10,000,000 rows: `--rows 10000000 --rounds 1`.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.generation import child
from benchmarks.measure import machine, peak_gib
from crowdselect_core.config.crowd import read_crowd
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.stages.base import InProcess
from crowdselect_core.stages.graph import INSTRUCTIONS, SCORES
from crowdselect_core.store.artifacts import Store

REWARD = "reward"
GROUP = 100_000  # rows of a row group
TARGET = 3.0  # times the CPU of the bare read


def make_zoo(path: Path, rows: int) -> None:
    """Write ids of 36 characters and the scores, as float64 that do not compress."""
    rng, writer = np.random.default_rng(0), None
    for start in range(0, rows, GROUP):
        count = min(GROUP, rows - start)
        ids = [f"{i:08x}-0000-4000-8000-{i:012x}" for i in range(start, start + count)]
        columns: dict[str, pa.Array] = {"uuid": pa.array(ids)}
        for model in read_crowd("paper").crowd:
            scores = pa.array(rng.normal(size=count))
            columns[model.name] = pa.StructArray.from_arrays([scores], [REWARD])
        table = pa.table(columns)
        writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table)
    assert writer is not None
    writer.close()


def bare(folder: Path) -> dict[str, float]:
    """Read every column by pyarrow."""
    began, started = time.process_time(), time.perf_counter()
    file = pq.ParquetFile(folder / "zoo.parquet")
    for group in range(file.num_row_groups):
        file.read_row_group(group)
    seconds = time.perf_counter() - started
    return {"cpu": time.process_time() - began, "seconds": seconds, "peak": peak_gib()}


def ours(folder: Path) -> dict[str, float]:
    """Run the two stages into a new store."""
    with tempfile.TemporaryDirectory(dir=folder) as store:
        config = SelectConfig.model_validate(
            {"dataset": str(folder / "zoo.parquet"), "reward_models": [REWARD], "store": store}
        ).resolved()
        run = InProcess(Store(store))
        began, started = time.process_time(), time.perf_counter()
        instructions = run(INSTRUCTIONS, config)
        between = time.process_time()
        run(SCORES, config, instructions)
        cpu, seconds = time.process_time() - began, time.perf_counter() - started
    ids = between - began
    return {"cpu": cpu, "seconds": seconds, "peak": peak_gib(), "ids": ids}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--run", choices=["bare", "ours"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        print(json.dumps((bare if args.run == "bare" else ours)(args.folder)))
        return
    print(machine("pyarrow", "polars"))
    with tempfile.TemporaryDirectory() as name:
        compare(Path(name), args.rows, args.rounds)


def compare(folder: Path, rows: int, rounds: int) -> None:
    """Measure both in turn and print them beside each other."""
    make_zoo(folder / "zoo.parquet", rows)
    size = (folder / "zoo.parquet").stat().st_size / 2**20
    print(f"{rows:,} rows x 19 scores, {size:,.0f} MiB on disk", flush=True)
    ratios = []
    for _ in range(rounds):
        pair = [child("benchmarks.ingest", way, folder, rows) for way in ("bare", "ours")]
        ratios.append(pair[1]["cpu"] / pair[0]["cpu"])
        for way, told in zip(("bare", "ours"), pair, strict=True):
            ids = f" ({told['ids']:.2f} s of it the ids)" if "ids" in told else ""
            print(
                f"  {way}: {told['cpu']:.2f} s of CPU{ids}, {told['seconds']:.2f} s, peak "
                f"{told['peak']:.2f} GiB",
                flush=True,
            )
    ratio = statistics.median(ratios)
    verdict = "kept" if ratio <= TARGET else "MISSED"
    print(f"CPU, ours / bare: {ratio:.2f} (target {TARGET:.0f}: {verdict}), of {rounds}")


if __name__ == "__main__":
    main()
