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
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measure import machine, peak_gib
from crowdselect_core.config.crowd import read_crowd
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.export import selection_files
from crowdselect_core.report.summary import summarise
from crowdselect_core.stages.refs import Ref, SelectionArtifacts
from crowdselect_core.stages.select import (
    answers,
    centers,
    clusters,
    comparison,
    embeddings,
    instructions,
    metrics,
    ranking,
    scores,
    selection,
)
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.build import build
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import Plan

REWARD = "reward"
BLOCK = 10_000


def make_zoo(path: Path, rows: int, width: int) -> None:
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
        writer.write_table(table)
    assert writer is not None
    writer.close()


def run(folder: Path, rows: int) -> None:
    """Run the chain in this process and print what it cost."""
    config = SelectConfig(
        dataset={"path": str(folder / "zoo.parquet")},  # type: ignore[arg-type]  # pydantic reads it
        crowd="paper",
        reward_models=[REWARD],
        embedder="column:vector",  # type: ignore[arg-type]
        store=str(folder / "store"),
        out=str(folder / "out"),
    ).resolved()
    store = Store(config.store)
    costs: dict[str, float] = {}

    def stage(spec: Spec, plan: Callable[[], Plan]) -> Ref:
        started = time.process_time()
        artifact = store.find(spec) or build(store, spec, plan(), workers=config.workers)
        costs[spec.stage] = time.process_time() - started
        return Ref.of(artifact)

    i = stage(instructions.spec(config), lambda: instructions.plan(config, store))
    s = stage(scores.spec(config, i), lambda: scores.plan(config, store, i))
    e = stage(embeddings.spec(config, i), lambda: embeddings.plan(config, store, i))
    costs.clear()
    started = time.process_time()
    import sklearn.cluster  # noqa: F401 - told apart: it is the same for any number of rows

    imports = time.process_time() - started
    m = stage(metrics.spec(config, s), lambda: metrics.plan(config, store, s))
    a = stage(answers.spec(config, s, m), lambda: answers.plan(config, store, s, m))
    k = stage(centers.spec(config, e), lambda: centers.plan(config, store, e))
    c = stage(clusters.spec(e, k), lambda: clusters.plan(store, e, k))
    r = stage(ranking.spec(config, m, a), lambda: ranking.plan(config, store, m, a))
    chosen = stage(selection.spec(config, r, c), lambda: selection.plan(config, store, s, m, r, c))
    other = stage(
        comparison.spec(config, chosen, c),
        lambda: comparison.plan(config, store, m, a, chosen, c),
    )
    started = time.process_time()
    inputs = SelectionArtifacts(
        instructions=i, scores=s, metrics=m, answers=a, embeddings=e, centers=k, clusters=c,
        ranking=r, selection=chosen, comparison=other,
    )  # fmt: skip
    table = selection_files.ranking_table(config, store, inputs)
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
        run(args.run, args.rows[0])
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
    """Return the stages that are counted; scores and vectors stay stored."""
    counted = (metrics, answers, centers, clusters, ranking, selection, comparison)
    return [str(folder / "store" / stage.STAGE) for stage in counted] + [str(folder / "out")]


if __name__ == "__main__":
    main()
