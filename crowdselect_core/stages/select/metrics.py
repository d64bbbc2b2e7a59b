"""Stage `metrics`: difficulty, separability, stability and headroom of every instruction.

Beside them: the best response's score (for the method `reward`), the difficulty under each
reward model alone (where there are several), the difficulty for one model of the crowd, and the
student's own score.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.config.crowd import CrowdModel
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.metrics.combine import (
    Moments,
    best_score,
    combine,
    left_out,
    moments,
    usable,
)
from crowdselect_core.metrics.foundation_metrics import crowd_metrics_NM
from crowdselect_core.stages.base import Stage, one_cpu
from crowdselect_core.stages.refs import Ref
from crowdselect_core.stages.shards import by_shard
from crowdselect_core.store.artifacts import Artifact, Store
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import Plan, ShardResult
from crowdselect_core.tables import METRICS as TABLE
from crowdselect_core.tables import check, is_shown_column, score_column, shown_column
from crowdselect_core.util.notes import log_warning
from crowdselect_core.util.once import Once

STAGE, VERSION = "metrics", 2
BEST = "best_score"
RELATIVE = "relative_difficulty"
STUDENT = "student_score"

Floats = NDArray[np.float64]


def spec(config: SelectConfig, scores: Ref, reference: Ref | None = None) -> Spec:
    """Name the artifact: the scores, the crowd's families and sizes, the student."""
    identity = {
        "crowd": [[m.name, m.family, m.size] for m in config.models],
        "reference_model": config.reference_model,
        "student": config.student.name if config.student else None,
    }
    inputs = {"scores": scores.key} | ({"reference": reference.key} if reference else {})
    return Spec(STAGE, VERSION, identity, inputs)


def plan(config: SelectConfig, store: Store, scores: Ref, reference: Ref | None = None) -> Plan:
    """Compute the metrics shard by shard.

    The metrics are of c[i,m], which is the mean where a model has several samples; so are the
    student's score and both sides of headroom.

    Output columns: METRICS, best_score (that of the best single answer among those that `best`
    chooses from, complete or not; null without scores), with several reward models
    `difficulty_column` of each, with a reference model relative_difficulty
    (its score minus the crowd's mean; higher: it does better than the crowd on this row), with a
    student student_score (combined as the crowd's are, by the crowd's moments).
    Facts: the mean and standard deviation that each reward model's scores of the crowd were
    z-scored with.

    Args:
        config: the crowd and the reward models.
        store: where the artifacts are.
        scores: of the rows.
        reference: metrics of other rows, whose means and deviations are used in place of these.
    """
    artifact = scores.open(store)
    fitted = Once(
        lambda: stored_moments(reference.open(store)) if reference else _moments(config, artifact)
    )

    def shard(frame: pl.DataFrame) -> ShardResult:
        return ShardResult(_metrics(config, frame, fitted()))

    def facts() -> dict[str, Any]:
        for note in left_out(fitted()) if reference is None else []:
            log_warning(note)
        return {"moments": {name: asdict(m) for name, m in fitted().items()}}

    return by_shard(artifact, shard, facts=facts)


METRICS = Stage("metrics", "Compute difficulty, separability and stability.", spec, plan, one_cpu)


def difficulty_column(reward_model: str) -> str:
    """Name the column of one reward model's own difficulty."""
    return f"difficulty/{reward_model}"


def score_arrays(
    frame: pl.DataFrame, crowd: list[CrowdModel], reward_models: list[str], *, shown: bool = False
) -> dict[str, Floats]:
    """Return scores_NM per reward model, NaN where a score is missing.

    Args:
        frame: a shard of scores.
        crowd: whose scores.
        reward_models: by whom.
        shown: of several samples that of the one that is shown, and not their mean.
    """

    def column(reward_model: str, model: str) -> pl.Expr:
        single = shown_column(reward_model, model)
        known = shown and single in frame.columns
        return pl.col(single if known else score_column(reward_model, model))

    return {
        r: frame.select(column(r, m.name).fill_null(float("nan")) for m in crowd).to_numpy()
        for r in reward_models
    }


def shown_scores(
    frame: pl.DataFrame, config: SelectConfig, fitted: Mapping[str, Moments]
) -> Floats:
    """Return what the answers that can be kept are compared by, of a shard of scores.

    shown_NM: each single answer's score, combined as c[i,m] is and by the same moments. It is
    c[i,m] but for models with several samples. METHOD: `best` takes the best single one.
    """
    arrays = score_arrays(frame, config.models, config.reward_names, shown=True)
    return combine(arrays, fitted)


def stored_moments(metrics: Artifact) -> dict[str, Moments]:
    """Return the moments that an artifact of this stage was computed with."""
    return {name: Moments(**m) for name, m in metrics.manifest.facts["moments"].items()}


def used_reward_models(config: SelectConfig, metrics: Ref) -> list[str]:
    """Return the reward models that told answers apart; the others were left out."""
    fitted = {name: Moments(**m) for name, m in metrics.facts["moments"].items()}
    return usable(fitted) if fitted else list(config.reward_names)


def _moments(config: SelectConfig, scores: Artifact) -> dict[str, Moments]:
    def blocks(reward_model: str) -> Callable[[], Iterator[Floats]]:
        names = [score_column(reward_model, m.name) for m in config.models]

        def read() -> Iterator[Floats]:
            for frame in scores.frames(names):
                yield frame.select(pl.all().fill_null(float("nan"))).to_numpy()

        return read

    if len(config.reward_names) == 1:
        return {}  # its scores are used as they are
    fitted = {r: moments(blocks(r)) for r in config.reward_names}
    usable(fitted)  # or there is nothing to measure by
    return fitted


def _metrics(
    config: SelectConfig, scores: pl.DataFrame, fitted: Mapping[str, Moments]
) -> pl.DataFrame:
    everyone = config.everyone
    arrays = score_arrays(scores, everyone, config.reward_names)
    all_NM = combine(arrays, fitted)
    table = crowd_metrics_NM(all_NM, everyone, scores.get_column("instruction_id"))
    crowd = [m.role == "crowd" for m in everyone]
    c_NM = all_NM if all(crowd) else all_NM[:, crowd]
    single = any(is_shown_column(name) for name in scores.columns)
    best_N = best_score(shown_scores(scores, config, fitted) if single else c_NM)
    extra = [pl.Series(BEST, best_N, nan_to_null=True)]
    if len(arrays) > 1:
        extra += [
            crowd_metrics_NM(own_NM, everyone)["difficulty"].alias(difficulty_column(name))
            for name, own_NM in arrays.items()
        ]
    if config.reference_model is not None:
        place = [m.name for m in config.models].index(config.reference_model)
        mean = -table["difficulty"].fill_null(float("nan")).to_numpy()
        extra.append(pl.Series(RELATIVE, c_NM[:, place] - mean, nan_to_null=True))
    if config.student is not None:
        student_N = all_NM[:, everyone.index(config.student)]
        extra.append(pl.Series(STUDENT, student_N, nan_to_null=True))
    frame = pl.concat(
        [scores.select("instruction_id"), table, pl.DataFrame(extra)], how="horizontal"
    )
    return check(frame, TABLE, "metrics")
