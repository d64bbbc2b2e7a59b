"""CPU and memory of an experiment that compares choices alone: ten methods, five budgets, 20 seeds.

    python -m benchmarks.choices [--rows 100000] [--seeds 20] [--width 384] [--loop-only]

First the whole command, `python -m flows.experiment --no-train`, on a data set that is written for
it: CPU seconds of its process and all of its children, and the peak resident memory of the largest
of them. It runs three times: on an empty store; with the stages that cells share in the store, but
no choice; and with everything there. Every replicate has a subsample of its own.

Beside it the bare loop of the core: metrics, rankings, quotas, overlaps of every pair of cells of
one budget and the description of every choice, of rows that are drawn in memory.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import yaml

from benchmarks.measure import machine, peak_gib
from crowdselect_core.config.crowd import read_crowd
from crowdselect_core.experiment.choices import Choice, KeptAnswers, Pool
from crowdselect_core.experiment.descriptions import describe
from crowdselect_core.experiment.ngrams import ngrams
from crowdselect_core.experiment.overlaps import overlaps
from crowdselect_core.metrics.combine import best_score
from crowdselect_core.metrics.foundation_metrics import crowd_metrics_NM
from crowdselect_core.selection.candidates import Candidates
from crowdselect_core.selection.methods.by_value import rank_by_value
from crowdselect_core.selection.methods.rank import rank
from crowdselect_core.selection.ranked_pool import choose_places
from crowdselect_core.util.hashed_random import uniform
from crowdselect_core.util.single_thread import one_thread

BUDGETS = (500, 1_000, 2_000, 5_000, 10_000)
CLUSTERS = 10
HELDOUT, SUBSAMPLE = 0.2, 0.8
VOCABULARY, WORDS = 20_000, 30
# method, direction, clustered
METHODS = (
    ("crowdselect", "top", True),
    ("crowdselect", "top", False),
    ("difficulty", "top", False),
    ("separability", "top", False),
    ("stability", "top", False),
    ("reward", "top", False),
    ("random", "top", True),
    ("random", "top", False),
    ("longest", "top", False),
    ("reward", "bottom", False),
)


# The same ten as cells of an experiment.
CELLS = [
    {"methods": ["crowdselect", "random"], "clusters": [0, CLUSTERS]},
    {
        "methods": [
            "difficulty", "separability", "stability", "reward",
            {"method": "reward", "direction": "bottom"},
            {"method": "length", "length": {"of": "instruction"}},
        ],
        "clusters": [0],
    },
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--loop-only", action="store_true", help="leave the command out")
    args = parser.parse_args()
    print(machine("polars", "numpy", "scipy"))
    print(
        f"{args.rows:,} rows, {len(METHODS)} methods x {len(BUDGETS)} budgets x {args.seeds} seeds"
        f" = {len(METHODS) * len(BUDGETS) * args.seeds:,} choices; CPU of all threads",
        flush=True,
    )
    if not args.loop_only:
        with tempfile.TemporaryDirectory() as folder:
            command(Path(folder), args.rows, args.seeds, args.width)
    loop(args.rows, args.seeds, args.width)


def command(folder: Path, rows: int, seeds: int, width: int) -> None:
    """Run the whole command on an empty store, on one that lacks the choices, and on a full one."""
    writing = "from benchmarks.choices import write_zoo; import sys; write_zoo(*sys.argv[1:])"
    written = [sys.executable, "-c", writing, str(folder), str(rows), str(width)]
    subprocess.run(written, check=True)
    (folder / "live.yaml").write_text(yaml.safe_dump({
        "dataset": str(folder / "zoo.parquet"), "crowd": "paper", "reward_models": ["reward"],
        "embedder": {"kind": "column", "column": "vector"},
        "store": str(folder / "store"), "out": str(folder / "out"),
        "experiment": {
            "cells": CELLS, "budgets": list(BUDGETS), "seeds": list(range(seeds)),
            "replicate": {"subsample": SUBSAMPLE}, "controls": False,
        },
    }))  # fmt: skip
    for what in ("empty store", "shared stages stored", "all stored"):
        seconds, gib = measured(folder)
        print(f"command, {what:21} {seconds:7.1f} s CPU, peak {gib:.2f} GiB", flush=True)
        if what == "empty store":
            shutil.rmtree(folder / "store" / "choices")


def measured(folder: Path) -> tuple[float, float]:
    """Return the CPU seconds of the command with its children, and the peak memory of one."""
    flags = ["--config", str(folder / "live.yaml"), "--no-train", "--quiet"]
    environment = {
        **os.environ, "PREFECT_HOME": str(folder / "prefect"), "OMP_NUM_THREADS": "1",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "600",
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.experiment", *flags],
        env=environment, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"the command ended with {process.returncode}")
    unit = 1 if sys.platform == "darwin" else 1024
    return used.ru_utime + used.ru_stime, used.ru_maxrss * unit / 2**30


def write_zoo(folder: str, rows: str, width: str) -> None:
    """Write a data set of the paper's crowd: texts, answers, rewards, vectors."""
    n, crowd, rng = int(rows), read_crowd("paper").crowd, np.random.default_rng(0)
    words = np.array([f"word{i}" for i in range(VOCABULARY)])
    texts = [" ".join(words[rng.zipf(1.3, WORDS) % VOCABULARY]) for _ in range(n)]
    cluster_N = rng.choice(CLUSTERS, n)
    vectors_NW = rng.normal(size=(CLUSTERS, int(width))).astype(np.float32)[cluster_N]
    vectors_NW += rng.standard_normal((n, int(width)), dtype=np.float32)
    columns = [
        pl.Series("uuid", [f"{i:036d}" for i in range(n)]),
        pl.Series("instruction", texts),
        pl.Series("vector", vectors_NW),
    ]
    base_N = rng.normal(size=n)
    for model in crowd:
        other, ends = rng.integers(0, n, n).tolist(), rng.integers(20, 400, n).tolist()
        answers = [texts[i][:end] for i, end in zip(other, ends, strict=True)]
        score_N = base_N + rng.normal(size=n)
        frame = pl.DataFrame({"content": answers, "reward": score_N})
        columns.append(frame.to_struct(model.name))
    pl.DataFrame(columns).write_parquet(Path(folder) / "zoo.parquet", row_group_size=10_000)


def loop(rows: int, seeds: int, width: int) -> None:
    """Measure the bare loop of the core."""
    metrics, best_N, pool, cluster_N = drawn(rows, width)
    print(f"loop, the rows themselves take {peak_gib():.2f} GiB", flush=True)
    with one_thread():
        marks = [time.process_time()]
        choices = [c for r in range(seeds) for c in chosen(metrics, best_N, pool, cluster_N, r)]
        marks.append(time.process_time())
        table = overlaps(choices, HELDOUT)
        marks.append(time.process_time())
        described = describe(pool, choices)
        marks.append(time.process_time())
    parts = np.diff(marks)
    for name, seconds in zip(("choosing", "overlaps", "description"), parts, strict=True):
        print(f"loop, {name:12} {seconds:7.1f} s CPU")
    print(f"loop, {'together':12} {parts.sum():7.1f} s CPU, peak {peak_gib():.2f} GiB")
    print(f"{table.height:,} overlaps, {described.cells.height:,} choices described")


def drawn(rows: int, width: int) -> tuple[pl.DataFrame, np.ndarray, Pool, np.ndarray]:  # type: ignore[type-arg]
    """Draw what would be stored: metrics of the paper's crowd, answers, vectors, texts."""
    crowd = read_crowd("paper").crowd
    rng = np.random.default_rng(0)
    scores_NM = rng.normal(size=(rows, len(crowd))) + rng.normal(size=(rows, 1))
    ids = pl.Series("instruction_id", [f"{i:036d}" for i in range(rows)])
    metrics = crowd_metrics_NM(scores_NM, crowd).insert_column(0, ids)
    kept = KeptAnswers(
        [m.name for m in crowd],
        scores_NM.argmax(axis=1).astype(np.int16),
        scores_NM.max(axis=1),
        rng.integers(20, 800, rows),
    )
    cluster_N = rng.choice(CLUSTERS, rows, p=np.arange(1, CLUSTERS + 1) / 55).astype(np.int64)
    centres = rng.normal(size=(CLUSTERS, width)).astype(np.float32)
    vectors_NW = centres[cluster_N]
    vectors_NW += rng.standard_normal((rows, width), dtype=np.float32)
    words = np.array([f"word{i}" for i in range(VOCABULARY)])
    texts = (" ".join(words[rng.zipf(1.3, WORDS) % VOCABULARY]) for _ in range(rows))
    pool = Pool(ids, rng.integers(5, 200, rows), {"best": kept}, vectors_NW, ngrams(texts))
    return metrics, best_score(scores_NM), pool, cluster_N


def chosen(
    metrics: pl.DataFrame, best_N: np.ndarray, pool: Pool, cluster_N: np.ndarray, replicate: int
) -> Iterator[Choice]:
    """Yield what every method chooses by every budget in one replicate."""
    ids = pool.ids
    free_N = uniform(ids, replicate, "heldout") >= HELDOUT
    free_N &= uniform(ids, replicate, "subsample") < SUBSAMPLE
    why = pl.when(~pl.Series(free_N)).then(pl.lit("not in the subsample"))
    table = metrics.with_columns(barred=why)
    for method, direction, clustered in METHODS:
        if method == "longest":
            values = pl.DataFrame({"instruction_id": ids, "tokens": pool.tokens_N})
            ranking = rank_by_value(table, values, "tokens")
        else:
            ranking = rank(
                table, method=method, direction=direction, seed=replicate, best_scores=best_N
            )
        score_N = ranking["score"].fill_null(float("nan")).to_numpy()
        ranked = Candidates(
            score_N, ranking["eligible"].to_numpy(), cluster_N if clustered else None
        )
        name = f"{method} {direction} k={CLUSTERS if clustered else 0}"
        for budget, rows_B in zip(BUDGETS, choose_places(ranked, BUDGETS), strict=True):
            yield Choice(f"{name} n={budget}", replicate, budget, rows_B, ranked, "best")


if __name__ == "__main__":
    main()
