"""CPU and memory of an experiment that compares choices alone: ten methods, five budgets, 20 seeds.

    python -m benchmarks.choices [--rows 100000] [--seeds 20] [--width 384]

The choosing itself is counted: metrics, rankings, quotas, overlaps of every pair of cells of one
budget and the description of every choice. Reading the rows is not: they are drawn in memory, as if
they lay in the store. Every replicate has a subsample and a held-out split of its own, so that no
choice is another one's.
"""

import argparse
import time
from collections.abc import Iterator

import numpy as np
import polars as pl

from benchmarks.measure import machine, peak_gib
from crowdselect_core.config.crowd import read_crowd
from crowdselect_core.experiment.choices import Choice, KeptAnswers, Pool
from crowdselect_core.experiment.descriptions import describe
from crowdselect_core.experiment.ngrams import ngrams
from crowdselect_core.experiment.overlaps import overlaps
from crowdselect_core.metrics.combine import best_score
from crowdselect_core.metrics.foundation_metrics import crowd_metrics_NM
from crowdselect_core.selection.methods.by_value import rank_by_value
from crowdselect_core.selection.methods.rank import rank
from crowdselect_core.selection.ranked_pool import Ranked, choose_rows
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--width", type=int, default=384)
    args = parser.parse_args()
    print(machine("polars", "numpy", "scipy"))
    metrics, best_N, pool, cluster_N = drawn(args.rows, args.width)
    print(
        f"{args.rows:,} rows, {len(METHODS)} methods x {len(BUDGETS)} budgets x {args.seeds} seeds"
        f" = {len(METHODS) * len(BUDGETS) * args.seeds:,} choices; CPU of all threads"
    )
    print(f"the rows themselves take {peak_gib():.2f} GiB", flush=True)
    with one_thread():
        marks = [time.process_time()]
        choices = [
            c for r in range(args.seeds) for c in chosen(metrics, best_N, pool, cluster_N, r)
        ]
        marks.append(time.process_time())
        table = overlaps(choices, HELDOUT)
        marks.append(time.process_time())
        described = describe(pool, choices)
        marks.append(time.process_time())
    parts = np.diff(marks)
    for name, seconds in zip(("choosing", "overlaps", "description"), parts, strict=True):
        print(f"{name:12} {seconds:7.1f} s CPU")
    print(f"{'together':12} {parts.sum():7.1f} s CPU, peak {peak_gib():.2f} GiB")
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
        ranked = Ranked(score_N, ranking["eligible"].to_numpy(), cluster_N if clustered else None)
        name = f"{method} {direction} k={CLUSTERS if clustered else 0}"
        for budget, rows_B in zip(BUDGETS, choose_rows(ranked, BUDGETS), strict=True):
            yield Choice(f"{name} n={budget}", replicate, budget, rows_B, ranked, "best")


if __name__ == "__main__":
    main()
