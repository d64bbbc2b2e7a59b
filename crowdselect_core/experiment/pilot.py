"""A pilot: rows that a whole crowd has answered and several reward models scored, and its choices.

What a smaller crowd, fewer reward models or other weights would have chosen is computed by the
library's own metrics, integration and quota.

Array names carry their shape: N rows in id order, M crowd models (a student too), B chosen rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.config.crowd import CrowdModel, check_crowd
from crowdselect_core.errors import CrowdError, DatasetError, shown
from crowdselect_core.metrics.combine import combine, moments
from crowdselect_core.metrics.foundation_metrics import crowd_metrics_NM
from crowdselect_core.selection.candidates import Candidates
from crowdselect_core.selection.eligibility import check_ids
from crowdselect_core.selection.integration import integrate
from crowdselect_core.selection.ranked_pool import Places, choose_places
from crowdselect_core.util.notes import Warn

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def _unheard(message: str) -> None:
    """A coarse metric of a sub-crowd is no news: it is one of many that are tried."""


@dataclass(frozen=True)
class Pilot:
    """What choices are made from.

    Attributes:
        ids: instruction ids, ascending, unique.
        crowd: the models, in the order of the arrays' columns; a student counts in headroom alone.
        scores_by_reward: per reward model an (N, M) array, higher is better, NaN where missing.
        budget: rows, or as a float in (0, 1] a share of the eligible rows.
        weights: of difficulty, separability, stability and, if there are four, headroom.
        cluster_N: cluster ids; None for no clustering.
        complete_NM: whether an answer could be kept; None where the data set has no answers.
        quota, min_scores: as `select` and `integrate` have them.
        warn: called with what is to be known of the metrics of every choice.
    """

    ids: pl.Series
    crowd: list[CrowdModel]
    scores_by_reward: Mapping[str, Floats]
    budget: int | float
    weights: Sequence[float] = (1, 1, 2)
    cluster_N: NDArray[np.int64] | None = None
    complete_NM: Bools | None = None
    quota: str = "equal"
    min_scores: int = 2
    warn: Warn = field(default=_unheard)

    def __post_init__(self) -> None:
        check_ids(self.ids, "pilot")
        check_crowd(self.crowd)
        if not self.ids.is_sorted():
            raise DatasetError("pilot: the ids are not in ascending order: sort the rows by id")
        if not self.scores_by_reward:
            raise DatasetError("pilot: no reward model: name at least one that has scores")
        shape = (len(self.ids), len(self.crowd))
        for name, scores_NM in self.scores_by_reward.items():
            if scores_NM.shape != shape:
                raise DatasetError(
                    f"pilot: the scores of {name!r} have the shape {scores_NM.shape}, expected "
                    f"{shape}: a row per id and a column per model"
                )

    @property
    def models(self) -> list[str]:
        """The crowd's names, without a student, in name order."""
        return sorted(m.name for m in self.crowd if m.role == "crowd")

    def rows(self, places: NDArray[np.int64], budget: int | float) -> "Pilot":
        """Return the pilot of some of its rows, ascending positions, with another budget."""
        return replace(
            self,
            ids=self.ids[places],
            scores_by_reward={k: s_NM[places] for k, s_NM in self.scores_by_reward.items()},
            budget=budget,
            cluster_N=None if self.cluster_N is None else self.cluster_N[places],
            complete_NM=None if self.complete_NM is None else self.complete_NM[places],
        )


def metrics_of(pilot: Pilot, models: Sequence[str], reward_models: Sequence[str]) -> pl.DataFrame:
    """Return the metrics (tables.METRICS and answerable) that a part of the crowd gives.

    Several reward models are z-scored over the answers of these models alone, as a run with no
    others would do it.

    Raises:
        CrowdError: a model or reward model that the pilot has not.
    """
    named = {
        "model": (models, pilot.models),
        "reward model": (reward_models, pilot.scores_by_reward),
    }
    for what, (wanted, known) in named.items():
        if unknown := sorted(set(wanted) - set(known)):
            raise CrowdError(f"pilot: no {what} {shown(unknown)} (there are {shown(known)})")
    keep = {*models, *(m.name for m in pilot.crowd if m.role == "student")}
    columns = [i for i, m in enumerate(pilot.crowd) if m.name in keep]
    crowd = [pilot.crowd[i] for i in columns]
    of_crowd = [place for place, m in enumerate(crowd) if m.role == "crowd"]
    scores = {k: pilot.scores_by_reward[k][:, columns] for k in sorted(reward_models)}
    fitted = {}
    if len(scores) > 1:
        for name, scores_NM in scores.items():
            block = scores_NM[:, of_crowd]
            fitted[name] = moments(lambda block=block: [block])  # type: ignore[misc]
    metrics = crowd_metrics_NM(combine(scores, fitted), crowd)
    metrics = metrics.insert_column(0, pilot.ids.alias("instruction_id"))
    if pilot.complete_NM is None:
        return metrics
    answered_N = pilot.complete_NM[:, columns][:, of_crowd].any(axis=1)
    return metrics.with_columns(answerable=pl.Series(answered_N))


def ranked_by(
    pilot: Pilot, metrics: pl.DataFrame, weights: Sequence[float] | None = None
) -> Candidates:
    """Rank metrics of `metrics_of` by the pilot's weights, or by others."""
    used = pilot.weights if weights is None else weights
    ranking = integrate(metrics, used, pilot.min_scores, warn=pilot.warn)
    score_N = ranking["score"].fill_null(float("nan")).to_numpy()
    return Candidates(score_N, ranking["eligible"].to_numpy(), pilot.cluster_N)


def chosen(pilot: Pilot, ranked: Candidates) -> Places:
    """Choose the pilot's budget; all eligible rows where there are fewer, none of none."""
    if not ranked.eligible_N.any():
        return np.empty(0, dtype=np.int32)
    return choose_places(ranked, [pilot.budget], pilot.quota, allow_short=True)[0]
