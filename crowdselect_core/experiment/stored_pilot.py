"""A pilot from the artifacts of a selection: what the advisor and the sensitivity start from.

Array names carry their shape: N rows in id order, M crowd models.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.config.metric_weights import check_weights
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import ConfigError
from crowdselect_core.experiment.pilot import Pilot
from crowdselect_core.selection.candidates import NO_CLUSTER
from crowdselect_core.selection.metric_weights import METHODS, method_weights
from crowdselect_core.stages.refs import RankedArtifacts
from crowdselect_core.stages.select.listed import listed_rows
from crowdselect_core.stages.select.metrics import score_arrays, used_reward_models
from crowdselect_core.store.artifacts import Store

Ints = NDArray[np.int64]


def stored_pilot(config: SelectConfig, store: Store, inputs: RankedArtifacts) -> Pilot:
    """Return the pilot whose choice is the selection of these artifacts.

    Rows that may not be chosen whatever their scores are left out: those that a gate refuses, that
    have no instruction, or that an include or exclude list leaves out. Which single answers are
    complete is not stored; a row with any is taken to have one of every part of the crowd. With
    several reward models the moments are those of the rows that are left.

    Args:
        config: resolved; of a method that weighs the metrics, top first.
        store: where the artifacts are.
        inputs: the artifacts up to the ranking.

    Raises:
        ConfigError: the method does not choose by the crowd's metrics.
    """
    weights = method_weights(config.method, check_weights(config.weights))
    if weights is None or config.direction != "top" or config.budget_tokens is not None:
        raise ConfigError(
            f"method {config.method} ({config.direction}): the advisor needs one that weighs the "
            f"crowd's metrics ({', '.join(METHODS)}), top, and a budget in rows"
        )
    answers = inputs.answers.open(store).frame(["instruction_id", "answerable", "barred"])
    rows = (
        inputs.scores.open(store)
        .frame()
        .join(answers.filter(pl.col("barred").is_null()), on="instruction_id", how="inner")
        .filter(listed_rows(config))
        .sort("instruction_id")
    )
    crowd = config.everyone
    answerable_N = rows["answerable"].fill_null(False).to_numpy()
    return Pilot(
        ids=rows["instruction_id"],
        crowd=crowd,
        scores_by_reward=score_arrays(rows, crowd, used_reward_models(config, inputs.metrics)),
        budget=config.budget,
        weights=weights,
        cluster_N=_clusters(rows["instruction_id"], store, inputs),
        complete_NM=np.repeat(answerable_N[:, None], len(crowd), axis=1),
        quota=config.quota,
        min_scores=config.min_scores,
    )


def _clusters(ids: pl.Series, store: Store, inputs: RankedArtifacts) -> Ints | None:
    if inputs.clusters is None:
        return None
    clusters = inputs.clusters.open(store).frame(["instruction_id", "cluster_id"])
    joined = ids.to_frame().join(clusters, on="instruction_id", how="left", maintain_order="left")
    cluster_N: Ints = joined["cluster_id"].fill_null(NO_CLUSTER).to_numpy()
    return cluster_N
