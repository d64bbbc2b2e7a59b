"""Reading a zoo of 20,000 x 19 answers of 2,000 characters: our iterator beside bare pyarrow.

    python -m benchmarks.reading [--rows 20000]

Both read scores and texts of all models, row group by row group, in turn in one run.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measure import machine, peak_gib
from crowdselect_core.config.crowd import read_crowd
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.stages.partitions import open_dataset

REWARD = "reward"
GROUP = 1000


def make_zoo(path: Path, rows: int, chars: int) -> None:
    """Write answers of random words, so that the file compresses about as text does."""
    rng = np.random.default_rng(0)
    words = [
        "".join(chr(97 + c) for c in rng.integers(26, size=n)) for n in rng.integers(2, 10, 5000)
    ]
    writer = None
    for start in range(0, rows, GROUP):
        columns: dict[str, pa.Array] = {
            "uuid": pa.array([f"{i:036d}" for i in range(start, start + GROUP)]),
            "instruction": pa.array(["what is it?"] * GROUP),
        }
        for model in read_crowd("paper").crowd:
            picks = rng.integers(5000, size=(GROUP, chars // 5))
            texts = [" ".join(words[w] for w in row)[:chars] for row in picks]
            columns[model.name] = pa.StructArray.from_arrays(
                [pa.array(texts), pa.array(rng.normal(size=GROUP))], ["content", REWARD]
            )
        table = pa.table(columns)
        writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table)
    assert writer is not None
    writer.close()


def bare(path: Path) -> int:
    """Read with pyarrow alone; return the bytes of text and scores that were seen."""
    file = pq.ParquetFile(path)
    seen = 0
    for group in range(file.num_row_groups):
        table = file.read_row_group(group, columns=[m.name for m in read_crowd("paper").crowd])
        seen += table.nbytes
    return seen


def ours(path: Path) -> int:
    """Read with our iterator; return the bytes of text and scores that were seen."""
    config = SelectConfig(
        dataset={"path": str(path)},  # type: ignore[arg-type]  # pydantic reads it
        reward_models=[REWARD],
    ).resolved()
    dataset = open_dataset(config)
    leaves = [*dataset.layout.scores.values(), *dataset.layout.answers.values()]
    seen = 0
    for part in dataset.partitions(GROUP):
        for batch in dataset.table.read(part, leaves):
            seen += sum(array.nbytes for array in batch.arrays.values())
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--peak", choices=["bare", "ours"], help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peak:
        (bare if args.peak == "bare" else ours)(args.file)
        print(f"{args.peak}: peak {peak_gib():.2f} GiB")
        return
    print(machine("pyarrow"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "zoo.parquet"
        make_zoo(path, args.rows, 2000)
        print(f"{args.rows:,} x 19 answers, {path.stat().st_size / 2**20:,.0f} MiB on disk")
        ratios = []
        for _ in range(5):
            started = time.perf_counter()
            size = bare(path)
            between = time.perf_counter()
            ours(path)
            ended = time.perf_counter()
            ratios.append((between - started) / (ended - between))
            print(
                f"bare {size / 2**20 / (between - started):,.0f} MiB/s, "
                f"ours {size / 2**20 / (ended - between):,.0f} MiB/s"
            )
        print(f"ours / bare: {statistics.median(ratios):.2f} (median of {len(ratios)})", flush=True)
        for who in ("bare", "ours"):
            command = [sys.executable, "-m", "benchmarks.reading", "--peak", who]
            subprocess.run([*command, "--file", str(path)], check=True)


if __name__ == "__main__":
    main()
