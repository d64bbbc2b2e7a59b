"""CPU and memory of a selection, outputs included, from stored scores and vectors.

    python -m benchmarks.selection [--rows 100000 1000000] [--width 384]

A synthetic zoo of 19 models with a vector column is read into a store first; that is not counted.
Each size runs in a process of its own, so that the peak memory is its own.
"""

import argparse
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
from crowdselect_core.export import selection_files
from crowdselect_core.export.ranking_rows import ExplainedRows
from crowdselect_core.report.summary import summarise
from crowdselect_core.stages.base import InProcess, P, Runner, Stage
from crowdselect_core.stages.refs import Ref
from crowdselect_core.store.artifacts import Store
from flows.select import chosen

STORED = ("instructions", "scores", "embeddings")  # what is not counted
REWARD = "reward"
BLOCK = 10_000


def make_zoo(path: Path, rows: int, width: int, row_group: int | None = None) -> None:
    """Write a zoo of the paper's crowd: short texts, continuous scores, clustered vectors."""
    crowd = read_crowd("paper").crowd
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(50, width)).astype(np.float32)
    writer = None
    for start in range(0, rows, BLOCK):
        n = min(BLOCK, rows - start)
        vectors = centers[rng.integers(50, size=n)] + rng.normal(0, 0.7, (n, width))
        columns: dict[str, pa.Array] = {
            "uuid": pa.array([f"{i:036d}" for i in range(start, start + n)]),
            "instruction": pa.array([f"instruction {i}" for i in range(start, start + n)]),
            "vector": pa.FixedSizeListArray.from_arrays(
                pa.array(vectors.astype(np.float32).ravel()), width
            ),
        }
        for model in crowd:
            score = pa.array(rng.normal(size=n))
            text = pa.array([f"answer {i}" for i in range(n)])
            columns[model.name] = pa.StructArray.from_arrays([text, score], ["content", REWARD])
        table = pa.table(columns)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table, row_group_size=row_group)
    assert writer is not None
    writer.close()


class Timed:
    """Runs stages as another runner does, and notes the CPU seconds of each."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.costs: dict[str, float] = {}

    def __call__(
        self, stage: Stage[P], config: SelectConfig, /, *inputs: P.args, **named: P.kwargs
    ) -> Ref:
        started = time.process_time()
        ref = self._runner(stage, config, *inputs, **named)
        self.costs[stage.name] = time.process_time() - started
        return ref


def measure(folder: Path, rows: int) -> None:
    """Run the chain in this process and print what it cost."""
    config = SelectConfig(
        dataset={"path": str(folder / "zoo.parquet")},  # type: ignore[arg-type]  # pydantic reads it
        crowd="paper",
        reward_models=[REWARD],
        embedder="column:vector",  # type: ignore[arg-type]
        store=str(folder / "store"),
        out=str(folder / "out"),
    ).resolved()
    started = time.process_time()
    import sklearn.cluster  # noqa: F401 - told apart: it is the same for any number of rows

    imports = time.process_time() - started
    store = Store(config.store)
    run = Timed(InProcess(store))
    inputs = chosen(config, run=run).inputs
    costs = {name: cost for name, cost in run.costs.items() if name not in STORED}
    started = time.process_time()
    table = ExplainedRows(config, store, inputs)
    summary = summarise(config, store, inputs, table)
    selection_files.write(
        config, store, inputs, selection_files.spec(config, inputs), table, summary
    )
    costs["export"] = time.process_time() - started
    parts = ", ".join(f"{name} {cost:.2f}" for name, cost in costs.items())
    print(
        f"{rows:>9,} rows: {sum(costs.values()):6.2f} s CPU, peak {peak_gib():.2f} GiB ({parts}; "
        f"importing scikit-learn {imports:.2f} beside that)",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        measure(args.run, args.rows[0])
        return
    print(machine("polars", "scikit-learn", "pyarrow"))
    print(f"19 models, vectors of width {args.width}, k = 10, budget 1,000; CPU of all threads")
    for rows in args.rows:
        with tempfile.TemporaryDirectory() as folder:
            make_zoo(Path(folder) / "zoo.parquet", rows, args.width)
            command = [sys.executable, "-m", "benchmarks.selection", "--run", folder]
            filling = [*command, "--rows", str(rows)]
            subprocess.run(filling, check=True, stdout=subprocess.DEVNULL)
            subprocess.run(["rm", "-r", *_computed(Path(folder))], check=True)
            subprocess.run([*command, "--rows", str(rows)], check=True)


def _computed(folder: Path) -> list[str]:
    """Return the folders of what is counted; instructions, scores and vectors stay stored."""
    stages = [f for f in (folder / "store").iterdir() if f.is_dir() and f.name not in STORED]
    return [str(path) for path in (*stages, folder / "out")]


if __name__ == "__main__":
    main()
