"""How far rows that arrived lie from the rows that the measures were fitted on.

Array names carry their shape: R values of reference, N values that arrived, B bins.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.tables import METRIC_NAMES

BINS = 10
SHIFTED = 0.25  # PSI from which a shift is called major (Siddiqi, Credit Risk Scorecards, 2006)
KS_SHIFTED, KS_LEVEL = 0.15, 0.001
NOISE_LEVEL = 0.99

Floats = NDArray[np.float64]
SCHEMA = {
    "rows": pl.String, "what": pl.String, "n_reference": pl.Int64, "n": pl.Int64,
    "mean_reference": pl.Float64, "mean": pl.Float64, "psi": pl.Float64, "psi_noise": pl.Float64,
    "ks": pl.Float64, "ks_p": pl.Float64, "shifted": pl.Boolean,
}  # fmt: skip


def drift(reference: pl.DataFrame, arrived: pl.DataFrame, rows: str) -> pl.DataFrame:
    """Compare the metrics and the cluster shares of rows that arrived with those of reference.

    The population stability index is sum over bins of (p - q) ln(p / q), the bins being the
    deciles of reference (or its clusters), each count raised by 0.5. Without any shift it is about
    chi-square with bins - 1 degrees of freedom times (1/n + 1/n_reference) (Yurdakul, 2018), whose
    99th percentile is `psi_noise`: few rows show a large index by chance. `ks` is the two-sample
    Kolmogorov-Smirnov statistic. A thing has shifted when psi is above 0.25 and above its noise,
    or ks above 0.15 at a level of 0.001.

    Input columns: the four metrics, eligible, cluster_id (null without clusters).
    Output columns: rows (which rows arrived: the argument), what (a metric, or clusters),
    n_reference, n, mean_reference, mean, psi, psi_noise, ks, ks_p, shifted; one row per metric
    that both have, and one for clusters.
    """
    base, new = reference.filter("eligible"), arrived.filter("eligible")
    told = []
    for name in METRIC_NAMES:
        values_R, values_N = _values(base, name), _values(new, name)
        if len(values_R) and len(values_N):
            told.append((rows, name, *_compared(values_R, values_N)))
    clusters_R, clusters_N = base["cluster_id"].drop_nulls(), new["cluster_id"].drop_nulls()
    if len(clusters_R) and len(clusters_N):
        told.append((rows, "clusters", *_shares(clusters_R.to_numpy(), clusters_N.to_numpy())))
    return pl.DataFrame(told, SCHEMA, orient="row")


def advice(table: pl.DataFrame) -> str:
    """Say in one sentence what the drift advises; it forces nothing."""
    shifted = table.filter("shifted")
    if table.is_empty():
        return "no row to compare"
    if shifted.is_empty():
        return "no shift against the rows that the measures were fitted on"
    names = list(dict.fromkeys(shifted["what"].to_list()))
    return (
        f"{', '.join(names)} shifted against the rows that the measures were fitted on: a refit is "
        "advised (mode: refit)"
    )


def psi(counts_R: NDArray[np.int64], counts_N: NDArray[np.int64]) -> tuple[float, float]:
    """Return the population stability index of two counts per bin, and its noise."""
    from scipy.stats import chi2

    p_B = (counts_N + 0.5) / (counts_N + 0.5).sum()
    q_B = (counts_R + 0.5) / (counts_R + 0.5).sum()
    index = float(((p_B - q_B) * np.log(p_B / q_B)).sum())
    spread = 1 / counts_N.sum() + 1 / counts_R.sum()
    noise = float(chi2.ppf(NOISE_LEVEL, max(len(counts_R) - 1, 1)) * spread)
    return index, noise


def _compared(values_R: Floats, values_N: Floats) -> tuple[object, ...]:
    from scipy.stats import ks_2samp

    edges = np.unique(np.quantile(values_R, np.linspace(0, 1, BINS + 1)[1:-1]))
    counts_R, counts_N = (
        np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)
        for values in (values_R, values_N)
    )
    index, noise = psi(counts_R, counts_N)
    tested = ks_2samp(values_R, values_N, method="asymp")
    far = tested.statistic > KS_SHIFTED and tested.pvalue < KS_LEVEL
    return (
        len(values_R), len(values_N), float(values_R.mean()), float(values_N.mean()), index, noise,
        float(tested.statistic), float(tested.pvalue), bool(index > max(SHIFTED, noise) or far),
    )  # fmt: skip


def _shares(clusters_R: NDArray[np.int64], clusters_N: NDArray[np.int64]) -> tuple[object, ...]:
    bins = int(max(clusters_R.max(), clusters_N.max())) + 1
    counts_R, counts_N = (np.bincount(c, minlength=bins) for c in (clusters_R, clusters_N))
    index, noise = psi(counts_R, counts_N)
    shifted = index > max(SHIFTED, noise)
    return len(clusters_R), len(clusters_N), None, None, index, noise, None, None, shifted


def _values(frame: pl.DataFrame, name: str) -> Floats:
    return frame[name].drop_nulls().to_numpy()
