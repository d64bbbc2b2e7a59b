"""What a crowd's scores say of its models: means with intervals, wins, whose answers were kept.

Pure functions over tables, for the report page and the figures. Scores are c[i,m], in name order
of the models, so several reward models count as they do in the metrics.

Array shapes: N rows, M crowd models in name order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.config.crowd import CrowdModel
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.metrics.combine import Moments, combine
from crowdselect_core.stages.select.metrics import score_arrays, stored_moments
from crowdselect_core.store.artifacts import Artifact

Floats = NDArray[np.float64]

NORMAL_95 = 1.959963984540054  # two-sided 95% quantile of the normal distribution
BLOCK_ROWS = 8192  # rows that are compared pair by pair at once: 8192 x 19 x 19 flags are 3 MB


@dataclass(frozen=True)
class ModelMean:
    """A model's mean score over the rows that it has a score of.

    Args:
        name: of the model.
        family: of the model.
        size: of the model, in billions of parameters or whatever orders the family.
        rows: with a score.
        mean: of the scores; NaN without one.
        low: lower end of the 95% interval of the mean over rows; NaN with fewer than two.
        high: its upper end.
    """

    name: str
    family: str
    size: float
    rows: int
    mean: float
    low: float
    high: float


class CrowdTally:
    """Gathers a crowd's means and wins over blocks of scores, in bounded memory.

    Args:
        crowd: the models in name order.
    """

    def __init__(self, crowd: Sequence[CrowdModel]) -> None:
        width = len(crowd)
        self._crowd = list(crowd)
        self._count_M = np.zeros(width, dtype=np.int64)
        self._mean_M = np.zeros(width)
        self._square_M = np.zeros(width)  # sum of squared differences from the mean
        self._wins_MM = np.zeros((width, width))
        self._both_MM = np.zeros((width, width), dtype=np.int64)

    def add(self, scores_NM: Floats) -> None:
        """Count a block of scores, NaN where one is missing."""
        for start in range(0, len(scores_NM), BLOCK_ROWS):
            block_NM = scores_NM[start : start + BLOCK_ROWS]
            self._add_means(block_NM)
            self._add_wins(block_NM)

    def means(self) -> list[ModelMean]:
        """Return each model's mean with its interval, by family, size and name.

        mean +- 1.96 s / sqrt(n), s with ddof 1: the normal interval over rows. It says how well the
        mean over such rows is known, and nothing of a pair of models on the same rows.
        """
        found = []
        for m, model in enumerate(self._crowd):
            n = int(self._count_M[m])
            mean = float(self._mean_M[m]) if n else float("nan")
            known = n > 1
            error = float(np.sqrt(self._square_M[m] / (n - 1) / n)) if known else float("nan")
            low, high = mean - NORMAL_95 * error, mean + NORMAL_95 * error
            found.append(ModelMean(model.name, model.family, model.size, n, mean, low, high))
        return sorted(found, key=lambda f: (f.family, f.size, f.name))

    def win_rates(self) -> Floats:
        """Return rates_MM: how often model a's score is above model b's, ties half, 0 to 1.

        Over the rows where both have a score; NaN where there is none, and on the diagonal.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            rates_MM: Floats = self._wins_MM / self._both_MM
        np.fill_diagonal(rates_MM, np.nan)
        return rates_MM

    def _add_means(self, block_NM: Floats) -> None:
        """Join a block's means and squares with those so far (Chan et al., 1979)."""
        known_NM = ~np.isnan(block_NM)
        n_M = known_NM.sum(axis=0)
        filled_NM = np.where(known_NM, block_NM, 0.0)
        mean_M = np.divide(filled_NM.sum(axis=0), n_M, out=np.zeros(len(n_M)), where=n_M > 0)
        square_M = np.where(known_NM, (filled_NM - mean_M) ** 2, 0.0).sum(axis=0)
        total_M = self._count_M + n_M
        share_M = np.divide(n_M, total_M, out=np.zeros(len(n_M)), where=total_M > 0)
        gap_M = mean_M - self._mean_M
        self._square_M += square_M + gap_M**2 * self._count_M * share_M
        self._mean_M += gap_M * share_M
        self._count_M = total_M

    def _add_wins(self, block_NM: Floats) -> None:
        left_NMM, right_NMM = block_NM[:, :, None], block_NM[:, None, :]
        above_MM = (left_NMM > right_NMM).sum(axis=0)
        equal_MM = (left_NMM == right_NMM).sum(axis=0)
        self._wins_MM += above_MM + equal_MM / 2
        self._both_MM += above_MM + above_MM.T + equal_MM


def crowd_tally(config: SelectConfig, scores: Artifact, metrics: Artifact) -> CrowdTally:
    """Gather the means and wins of a crowd, shard by shard.

    Args:
        config: the resolved config: crowd and reward models.
        scores: of all rows.
        metrics: of all rows; they say by which moments several reward models are combined.
    """
    tally, fitted = CrowdTally(config.models), stored_moments(metrics)
    for frame in scores.frames():
        tally.add(combined_scores(frame, config, fitted))
    return tally


def combined_scores(
    frame: pl.DataFrame, config: SelectConfig, fitted: Mapping[str, Moments]
) -> Floats:
    """Return c_NM of a shard of scores, NaN where a model has no score."""
    return combine(score_arrays(frame, config.models, config.reward_names), fitted)


def kept_counts(selection: pl.DataFrame, crowd: Sequence[CrowdModel]) -> dict[str, int]:
    """Count the chosen rows by the model whose answer is kept, by family, size and name.

    Input columns: response_model.
    """
    found = dict(selection["response_model"].drop_nulls().value_counts().iter_rows())
    order = sorted(crowd, key=lambda m: (m.family, m.size, m.name))
    return {m.name: int(found.get(m.name, 0)) for m in order}


def metric_correlations(ranking: pl.DataFrame, names: Sequence[str]) -> Floats:
    """Return rho_KK: Spearman's rank correlation of each two metrics over the eligible rows.

    NaN where fewer than two rows have both, or one of the two is constant there.

    Input columns: eligible, and the metrics named.
    """
    rows = ranking.filter("eligible")
    rho_KK = np.full((len(names), len(names)), np.nan)
    for i, one in enumerate(names):
        for j, other in enumerate(names[: i + 1]):
            both = rows.select(one, other) if one != other else rows.select(one)
            both = both.drop_nulls()
            if both.height < 2:
                continue
            rho = both.select(pl.corr(one, other, method="spearman")).item()
            rho_KK[i, j] = rho_KK[j, i] = np.nan if rho is None else rho
    return rho_KK
