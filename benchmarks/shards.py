"""How long reading, writing and checking take with shards of different sizes.

    python -m benchmarks.shards [--rows 200000]

The stage `scores` of a synthetic zoo of 19 models is computed with each size, then all of it is
read back with its checksums. Small shards lose less when a run is killed, large ones cost less.
"""

import argparse
import tempfile
import time
from pathlib import Path

from benchmarks.measure import machine
from benchmarks.selection import REWARD, make_zoo
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.stages.base import InProcess
from crowdselect_core.stages.graph import INSTRUCTIONS, SCORES
from crowdselect_core.store.artifacts import Store

SIZES = (2_000, 10_000, 50_000, 200_000)


def compute(folder: Path, shard_rows: int) -> str:
    """Compute and read back the stage with one size; return what it took."""
    config = SelectConfig.model_validate(
        {
            "dataset": str(folder / "zoo.parquet"),
            "reward_models": [REWARD],
            "store": str(folder / f"store-{shard_rows}"),
            "shard_rows": shard_rows,
        }
    ).resolved()
    store = Store(config.store)
    run = InProcess(store)
    first = run(INSTRUCTIONS, config)
    started = time.perf_counter()
    built = run(SCORES, config, first).open(store)
    computed = time.perf_counter()
    rows = sum(frame.height for frame in built.frames())
    read = time.perf_counter()
    shards = built.manifest.shards
    size = sum(s.bytes for s in shards) / len(shards) / 2**20
    return (
        f"{shard_rows:>8,} rows a shard: {len(shards):>4} shards of {size:6.2f} MiB, computed in "
        f"{computed - started:5.2f} s, {rows:,} rows read back in {read - computed:5.2f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    args = parser.parse_args()
    print(machine("polars", "pyarrow"))
    with tempfile.TemporaryDirectory() as folder:
        make_zoo(Path(folder) / "zoo.parquet", args.rows, width=1)
        for shard_rows in SIZES:
            print(compute(Path(folder), shard_rows), flush=True)


if __name__ == "__main__":
    main()
