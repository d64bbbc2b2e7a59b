"""How fast the heart of the library is: `python -m benchmarks.metrics`.

Prints, in one run: `crowd_metrics` on 100,000 rows of the paper's 19 models beside a
row-at-a-time scipy loop that computes the same numbers, and integration and selection at 100,000
and 1,000,000 rows. Random scores, no gaps, seed 0.

Array names carry their shape: N rows (instructions), M crowd models.
"""

import os
import platform
import resource
import sys
import time

import numpy as np
import polars as pl
import scipy
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks.measure import median_seconds
from crowdselect_core import crowd_metrics, integrate, select
from crowdselect_core.config.crowd import CrowdModel, families, read_crowd

ROWS, SAMPLE_ROWS, REPEATS = 100_000, 1_000, 9
SELECT_ROWS = (100_000, 1_000_000)
BUDGET, CLUSTERS = 1_000, 10


def wide_scores(rows: int, crowd: list[CrowdModel]) -> pl.DataFrame:
    """Make random scores: instruction_id and one column per model."""
    rng = np.random.default_rng(0)
    ids = pl.Series([f"{i:032x}" for i in range(rows)])
    return pl.DataFrame({"instruction_id": ids} | {m.name: rng.normal(size=rows) for m in crowd})


def scipy_loop(scores_NM: NDArray[np.float64], crowd: list[CrowdModel]) -> list[tuple[float, ...]]:
    """Compute the three metrics row after row, the correlations with scipy."""
    place = {m.name: i for i, m in enumerate(crowd)}
    groups = [([place[m.name] for m in g], [m.size for m in g]) for g in families(crowd).values()]
    return [
        (
            float(-row_M.mean()),
            float(row_M.var()),
            float(np.mean([spearmanr(sizes, row_M[places])[0] for places, sizes in groups])),
        )
        for row_M in scores_NM
    ]


def peak_mib() -> float:
    """Return the largest resident size of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def metrics_against_scipy(crowd: list[CrowdModel]) -> None:
    """Print crowd_metrics beside the scipy loop, and how far their numbers are apart."""
    frame = wide_scores(ROWS, crowd)
    crowd_metrics(frame, crowd)  # the first call is not counted
    seconds = median_seconds(lambda: crowd_metrics(frame, crowd), REPEATS)
    sample_NM = frame.head(SAMPLE_ROWS).select([m.name for m in crowd]).to_numpy()
    start = time.perf_counter()
    expected = np.array(scipy_loop(sample_NM, crowd))
    loop = (time.perf_counter() - start) * ROWS / SAMPLE_ROWS
    got = crowd_metrics(frame.head(SAMPLE_ROWS), crowd)
    apart = np.abs(got.select("difficulty", "separability", "stability").to_numpy() - expected)
    print(
        f"crowd_metrics {ROWS:,} x {len(crowd)}: {seconds:.3f} s (median of {REPEATS})\n"
        f"scipy, row at a time: {loop:.1f} s (measured on {SAMPLE_ROWS:,} rows, scaled)\n"
        f"ratio: {loop / seconds:,.0f}; largest difference on those rows: {apart.max():.1e}"
    )


def selection_at(rows: int) -> None:
    """Print what integration and selection of so many rows cost, wall clock and CPU."""
    rng = np.random.default_rng(0)
    ids = pl.Series("instruction_id", [f"{i:032x}" for i in range(rows)]).shuffle(seed=0)
    metrics = pl.DataFrame(
        {
            "instruction_id": ids,
            "n_scores": pl.Series(np.full(rows, 19)),
            "difficulty": rng.normal(size=rows),
            "separability": rng.gamma(2.0, size=rows),
            "stability": rng.integers(-40, 41, size=rows) / 40,
        }
    )
    clusters = pl.DataFrame(
        {"instruction_id": ids, "cluster_id": rng.integers(0, CLUSTERS, size=rows)}
    ).sample(fraction=1.0, shuffle=True, seed=1)
    start, cpu = time.perf_counter(), time.process_time()
    ranking = integrate(metrics, (1, 1, 2))
    middle, middle_cpu = time.perf_counter(), time.process_time()
    chosen = select(ranking, clusters, BUDGET)
    end, end_cpu = time.perf_counter(), time.process_time()
    print(
        f"{rows:,} rows: integrate {middle - start:.2f} s ({middle_cpu - cpu:.2f} s CPU), select "
        f"{chosen.height:,} of {CLUSTERS} clusters {end - middle:.2f} s "
        f"({end_cpu - middle_cpu:.2f} s CPU), peak RSS so far {peak_mib():,.0f} MiB"
    )


def main() -> None:
    """Print every figure."""
    print(
        f"{os.cpu_count()} cores, Python {platform.python_version()}, numpy {np.__version__}, "
        f"polars {pl.__version__} ({pl.thread_pool_size()} threads), scipy {scipy.__version__}"
    )
    metrics_against_scipy(read_crowd("paper").crowd)
    for rows in SELECT_ROWS:
        selection_at(rows)


if __name__ == "__main__":
    main()
