"""CPU and peak memory of every stage of a selection from stored scores, beside bare numpy.

    python -m benchmarks.ten_million [--rows 1000000 10000000] [--width 0] [--budget 1000]

A table of seeded scores of the paper's crowd of 19 models (ids of 36 characters, no texts; with
`--width` also vectors, which are clustered) is read into a store first; that is not counted. Then
every stage, and the export, runs in a process of its own. CPU is that of all its threads after
its imports; the peak is that of the whole process. The last line is the same arithmetic on bare
arrays: metrics, quantiles, the order by score and the choice.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Collection
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measure import machine, peak_gib
from crowdselect_core.config.crowd import CrowdModel, read_crowd
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.stages.base import P, Stage
from crowdselect_core.stages.refs import Ref, SelectionArtifacts

STORED = ("instructions", "scores", "embeddings")  # what is not counted
BLOCK = 50_000
GROUPS = 50  # that the vectors lie in


def scores_of(start: int, rows: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the scores of some rows; 1 % of them are missing (NaN)."""
    rng = np.random.default_rng([0, start])
    scores_NM = rng.normal(size=(rows, len(crowd())))
    scores_NM[rng.random(scores_NM.shape) < 0.01] = np.nan
    return scores_NM


def crowd() -> list[CrowdModel]:
    """Return the paper's crowd, in name order."""
    return sorted(read_crowd("paper").crowd, key=lambda m: m.name)


def write_scores(path: Path, rows: int, width: int, first: int = 0) -> None:
    """Write the table of scores, and vectors of some width, block by block.

    Args:
        path: of the file.
        rows: of it.
        width: of the vectors, 0 for none.
        first: the number of its first row; scores and ids follow from the numbers.
    """
    names = [m.name for m in crowd()]
    centers = np.random.default_rng(1).normal(size=(GROUPS, width)).astype(np.float32)
    writer = None
    for start in range(first, first + rows, BLOCK):
        n = min(BLOCK, first + rows - start)
        scores_NM = scores_of(start, n)
        ids = np.random.default_rng([2, start]).bytes(16 * n)
        columns: dict[str, pa.Array] = {
            "uuid": pa.array([_uuid(ids[16 * i : 16 * i + 16]) for i in range(n)])
        }
        for place, name in enumerate(names):
            column = scores_NM[:, place]
            columns[name] = pa.array(column, mask=np.isnan(column))
        if width:
            rng = np.random.default_rng([3, start])
            vectors = centers[rng.integers(GROUPS, size=n)]
            vectors = vectors + rng.normal(0, 0.7, (n, width)).astype(np.float32)
            columns["vector"] = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), width)
        table = pa.table(columns)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()


def _uuid(raw: bytes) -> str:
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def keys_of(folder: Path, data: str, width: int, budget: int) -> dict[str, Any]:
    """Return the keys of a run's config: the data in a folder, its store and OUT beside them."""
    return {
        "dataset": {"path": str(folder / data)},
        "crowd": "paper",
        "reward_models": ["reward"],
        "embedder": "column:vector" if width else "lexical",
        "clusters": 10 if width else 0,
        "budget": budget,
        "store": str(folder / "store"),
        "out": str(folder / "out"),
    }


class InChildren:
    """Runs every stage in a process of its own, and notes what it took.

    Args:
        silent: stages that are not printed; None for all.
    """

    def __init__(self, silent: Collection[str] | None = STORED) -> None:
        self.costs: list[tuple[str, float, float]] = []
        self._silent = silent
        self._context = get_context("forkserver")
        self._context.set_forkserver_preload(["__main__", "crowdselect_core.stages.graph"])

    def __call__(
        self, stage: Stage[P], config: SelectConfig, /, *inputs: P.args, **named: P.kwargs
    ) -> Ref:
        """Return the stage's artifact."""
        ref: Ref = self.call(stage.name, _run_stage, stage.name, config, inputs, named)
        return ref

    def call(self, name: str, work: Any, *args: Any) -> Any:
        """Return what `work` returns in another process."""
        with ProcessPoolExecutor(1, mp_context=self._context) as pool:
            made, cpu, peak = pool.submit(_measured, work, *args).result()
        self.costs.append((name, cpu, peak))
        if self._silent is not None and name not in self._silent:
            print(f"  {name:<14} {cpu:7.2f} s CPU   {peak:5.2f} GiB", flush=True)
        return made

    def together(self, without: Collection[str] = ()) -> tuple[float, float]:
        """Return the CPU seconds of all stages but some, and the highest peak."""
        counted = [(cpu, peak) for name, cpu, peak in self.costs if name not in without]
        return sum(cpu for cpu, _ in counted), max(peak for _, peak in counted)


def _measured(work: Any, *args: Any) -> tuple[Any, float, float]:
    import polars as pl

    from crowdselect_core.stages import graph  # noqa: F401 - the imports are not counted

    if "sklearn" in sys.modules:
        import sklearn.cluster  # noqa: F401
    pl.DataFrame({"a": [1]}).sort("a")
    started = time.process_time()
    made = work(*args)
    return made, time.process_time() - started, peak_gib()


def _run_stage(name: str, config: SelectConfig, inputs: Any, named: Any) -> Ref:
    from crowdselect_core.stages.base import InProcess
    from crowdselect_core.stages.graph import STAGES
    from crowdselect_core.store.artifacts import Store

    return InProcess(Store(config.store))(STAGES[name], config, *inputs, **named)


def export_files(config: SelectConfig, inputs: SelectionArtifacts) -> None:
    from crowdselect_core.export import selection_files
    from crowdselect_core.export.ranking_rows import ExplainedRows
    from crowdselect_core.report.summary import summarise
    from crowdselect_core.store.artifacts import Store

    store = Store(config.store)
    table = ExplainedRows(config, store, inputs)
    summary = summarise(config, store, inputs, table)
    wanted = selection_files.spec(config, inputs)
    selection_files.write(config, store, inputs, wanted, table, summary)


def bare(rows: int, budget: int) -> None:
    """Compute the same on arrays that are there already, and print what it took."""
    from crowdselect_core.metrics.foundation_metrics import crowd_metrics_NM

    started, parts, taken = time.process_time(), [], 0.0
    for start in range(0, rows, BLOCK):
        scores_NM = scores_of(start, min(BLOCK, rows - start))
        before = time.process_time()
        table = crowd_metrics_NM(scores_NM, crowd())
        names = ["difficulty", "separability", "stability"]
        parts.append(table.select(names).to_numpy())
        taken += time.process_time() - before
    metrics_ND = np.concatenate(parts)
    del parts
    started, score_N = time.process_time(), np.zeros(rows)
    for column, weight in zip(metrics_ND.T, (1.0, 1.0, 2.0), strict=True):
        order = np.argsort(column)
        quantile_N = np.empty(rows)
        quantile_N[order] = np.arange(rows) / (rows - 1)
        score_N += weight * quantile_N
    ranked = time.process_time()
    np.argsort(-score_N)[:budget]
    end = time.process_time()
    total = taken + end - started
    print(
        f"  bare arrays    {total:7.2f} s CPU   {peak_gib():5.2f} GiB   (metrics {taken:.2f}, "
        f"quantiles {ranked - started:.2f}, order {end - ranked:.2f})",
        flush=True,
    )


def measure(folder: Path, rows: int, width: int, budget: int) -> None:
    """Run the chain, a process a stage, and print what each took."""
    from flows.select import chosen

    keys = keys_of(folder, "scores.parquet", width, budget)
    config = SelectConfig.model_validate(keys).resolved()
    run = InChildren()
    inputs = chosen(config, run=run).inputs
    run.call("export", export_files, config, inputs)
    cpu, peak = run.together(STORED)
    print(f"  together       {cpu:7.2f} s CPU   {peak:5.2f} GiB at most", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--width", type=int, default=0)
    parser.add_argument("--budget", type=int, default=1000)
    parser.add_argument("--keep", type=Path, help="folder of the stored scores, used again")
    args = parser.parse_args()
    print(machine("polars", "numpy", "pyarrow"))
    for rows in args.rows:
        told = f", vectors of width {args.width}" if args.width else ""
        print(f"{rows:,} rows x {len(crowd())} scores{told}, budget {args.budget:,}", flush=True)
        with tempfile.TemporaryDirectory() as temporary:
            folder = (args.keep or Path(temporary)) / f"{rows}-{args.width}"
            folder.mkdir(parents=True, exist_ok=True)
            if not (folder / "scores.parquet").exists():
                write_scores(folder / "scores.parquet", rows, args.width)
            for path in _computed(folder):
                shutil.rmtree(path)
            measure(folder, rows, args.width, args.budget)
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            pool.submit(bare, rows, args.budget).result()


def _computed(folder: Path) -> list[Path]:
    """Return the folders of what is counted; instructions, scores and vectors stay stored."""
    store, out = folder / "store", folder / "out"
    stages = [f for f in store.iterdir() if f.is_dir()] if store.exists() else []
    return [p for p in (*(f for f in stages if f.name not in STORED), out) if p.exists()]


if __name__ == "__main__":
    main()
