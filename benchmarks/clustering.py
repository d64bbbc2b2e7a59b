"""K-means on a sample of the rows beside k-means on all of them.

    python -m benchmarks.clustering [--seeds 3]

100,000 x 384 with k = 10 and 30, on a mixture of overlapping topics and on pure noise: CPU seconds
and inertia of the full fit, then of fits on samples, each over the full fit's mean. A sample's
inertia is over all rows, after assignment. Then what the many starts of `fit_clusters` buy where
groups are well apart, and 1,000,000 x 128 as a run clusters them. Each case is a process of its
own, so that its peak memory is its own.

Array names carry their shape: N rows, D components, K clusters, T topics.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import product

import numpy as np
import polars as pl

from benchmarks.measure import machine, peak_gib
from crowdselect_core.embedding import fit_sample
from crowdselect_core.embedding.kmeans import (
    FIT_ROWS,
    Vectors,
    assign,
    check_distinct,
    fit_clusters,
    fit_rows,
)
from crowdselect_core.util.single_thread import one_thread

ROWS, WIDTH = 100_000, 384
LARGE_ROWS, LARGE_WIDTH, LARGE_K = 1_000_000, 128, 10
SAMPLES = (5_000, 10_000, FIT_ROWS, 50_000)
BLOCK = 50_000


def mixture(rows: int, width: int, topics: int = 60) -> Vectors:
    """Make unit vectors: topics of unequal size in 8 families, noise that is not round.

    k-means with k = 10 explains about a fifth of the variance, as it does for text embeddings.
    """
    rng = np.random.default_rng(1)
    shares_T = np.arange(1, topics + 1) ** -0.8
    families = rng.normal(size=(8, width))[rng.integers(8, size=topics)]
    means_TD = 0.42 * (families + rng.normal(size=(topics, width)))
    spectrum_D = np.arange(1, width + 1) ** -0.5
    spectrum_D *= np.sqrt(width / (spectrum_D**2).sum())
    basis_DD = np.linalg.qr(rng.normal(size=(width, width)))[0] * spectrum_D[:, None]
    vectors_ND = np.empty((rows, width), dtype=np.float32)
    for start in range(0, rows, BLOCK):
        size = min(BLOCK, rows - start)
        topic = rng.choice(topics, size, p=shares_T / shares_T.sum())
        block = means_TD[topic] + rng.normal(size=(size, width)) @ basis_DD
        vectors_ND[start : start + size] = block / np.linalg.norm(block, axis=1, keepdims=True)
    return vectors_ND


def noise(rows: int, width: int) -> Vectors:
    """Make unit vectors of no structure."""
    block = np.random.default_rng(1).normal(size=(rows, width)).astype(np.float32)
    block /= np.linalg.norm(block, axis=1, keepdims=True)
    return block


DATA: dict[str, Callable[[int, int], Vectors]] = {"mixture": mixture, "noise": noise}


def cpu(call: Callable[[], Vectors]) -> tuple[float, Vectors]:
    """Return the CPU seconds of a call, all threads, and what it returned."""
    started = time.process_time()
    value = call()
    return time.process_time() - started, value


def inertia(vectors_ND: Vectors, centers_KD: Vectors) -> float:
    """Sum of the squared distances of all rows to their centres."""
    return float((assign(vectors_ND, centers_KD)[1] ** 2).sum())


def sampled(data: str, k: int, seeds: int) -> None:
    """Compare the full fit with fits on samples."""
    vectors_ND = DATA[data](ROWS, WIDTH)
    ids = pl.Series([f"{i:032x}" for i in range(ROWS)])
    fit_clusters(vectors_ND[:1000], k, 0)  # imports, not counted
    full = [cpu(partial(fit_clusters, vectors_ND, k, seed)) for seed in range(seeds)]
    inertias = [inertia(vectors_ND, centers_KD) for _, centers_KD in full]
    base = float(np.mean(inertias))
    print(f"{data}, {ROWS:,} x {WIDTH}, k = {k}")
    line("all rows", [s for s, _ in full], [i / base for i in inertias])
    for rows in SAMPLES:
        costs, ratios = [], []
        for seed in range(seeds):
            chosen = fit_sample([ids], rows, seed)
            cost, centers_KD = cpu(partial(fit_clusters, vectors_ND[chosen], k, seed))
            costs.append(cost)
            ratios.append(inertia(vectors_ND, centers_KD) / base)
        line(f"{rows:,}", costs, ratios)
    cost, _ = cpu(lambda: assign(vectors_ND, centers_KD)[1].astype(np.float32))
    print(f"  assigning all rows {cost:.2f} s CPU; peak {peak_gib():.2f} GiB", flush=True)


def line(name: str, costs: list[float], ratios: list[float]) -> None:
    """Print one row of the comparison."""
    print(
        f"  fit on {name:>9}: {np.mean(costs):6.2f} s CPU, inertia {np.mean(ratios):.4f} "
        f"(worst {max(ratios):.4f})",
        flush=True,
    )


def one_start(vectors_ND: Vectors, k: int, seed: int) -> Vectors:
    """Fit as scikit-learn does by default."""
    from sklearn.cluster import KMeans

    with one_thread():
        fitted = KMeans(k, n_init=1, random_state=seed).fit(vectors_ND)
    return np.asarray(fitted.cluster_centers_)


def starts() -> None:
    """Compare `fit_clusters` with one plain start where the groups are well apart."""
    for k in (10, 30):
        rng = np.random.default_rng(5)
        shares = 1 / np.arange(1, k + 1)
        member = rng.choice(k, FIT_ROWS, p=shares / shares.sum())
        means_KD = rng.normal(size=(k, WIDTH)) * 4
        vectors_ND = (means_KD[member] + rng.normal(size=(FIT_ROWS, WIDTH))).astype(np.float32)
        ours = [cpu(partial(fit_clusters, vectors_ND, k, seed)) for seed in range(20)]
        one = [cpu(partial(one_start, vectors_ND, k, seed)) for seed in range(20)]
        best = min(inertia(vectors_ND, c) for _, c in ours + one)
        print(f"{k} groups far apart, {FIT_ROWS:,} x {WIDTH}, k = {k}, 20 seeds")
        for name, runs in (("ours", ours), ("one start", one)):
            line(name, [s for s, _ in runs], [inertia(vectors_ND, c) / best for _, c in runs])


def large() -> None:
    """Cluster a million rows as a run does."""
    vectors_ND = mixture(LARGE_ROWS, LARGE_WIDTH)
    before = peak_gib()
    ids = pl.Series([f"{i:032x}" for i in range(LARGE_ROWS)])
    fit_clusters(vectors_ND[:1000], LARGE_K, 0)
    started = [time.process_time()]
    check_distinct(vectors_ND, LARGE_K)
    started.append(time.process_time())
    chosen = fit_sample([ids], fit_rows(LARGE_K), 0)
    started.append(time.process_time())
    centers_KD = fit_clusters(vectors_ND[chosen], LARGE_K, 0)
    started.append(time.process_time())
    assign(vectors_ND, centers_KD)
    started.append(time.process_time())
    parts = zip(("distinct", "sample", "fit", "assign"), np.diff(started), strict=True)
    costs = ", ".join(f"{name} {cost:.2f}" for name, cost in parts)
    print(f"{LARGE_ROWS:,} x {LARGE_WIDTH}, k = {LARGE_K}: {started[-1] - started[0]:.2f} s CPU")
    print(f"  ({costs}); peak {peak_gib():.2f} GiB, {before:.2f} of it making the vectors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case == "starts":
        starts()
    elif args.case == "large":
        large()
    elif args.case:
        data, k = args.case.split(":")
        sampled(data, int(k), args.seeds)
    else:
        print(machine("scikit-learn", "numpy"), flush=True)
        cases = [f"{data}:{k}" for data, k in product(DATA, (10, 30))]
        for case in [*cases, "starts", "large"]:
            command = [sys.executable, "-m", "benchmarks.clustering", "--case", case]
            subprocess.run([*command, "--seeds", str(args.seeds)], check=True)


if __name__ == "__main__":
    main()
