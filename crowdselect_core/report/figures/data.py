"""What the figures of a selection show, read from its artifacts."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.report.crowd_figures import (
    ModelMean,
    crowd_tally,
    kept_counts,
    metric_correlations,
)
from crowdselect_core.stages.refs import Ref, SelectionArtifacts
from crowdselect_core.store.artifacts import Store
from crowdselect_core.tables import METRIC_NAMES

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class FigureData:
    """The numbers behind the figures.

    Args:
        metrics: of the eligible rows, by name; undefined ones are left out.
        chosen: of the chosen rows, likewise.
        clusters: cluster_id, eligible, chosen, share (what the quota aims at); None without.
        quota: how the budget is shared.
        means: of every crowd model, by family, size and name.
        models: the crowd's names in the order of `wins`.
        wins: rates_MM, 0 to 1.
        kept: chosen rows by the model whose answer is kept; empty without answers.
        correlations: rho_KK of the metrics.
        reward_models: whose scores these are.
    """

    metrics: Mapping[str, Floats]
    chosen: Mapping[str, Floats]
    clusters: pl.DataFrame | None
    quota: str
    means: list[ModelMean]
    models: list[str]
    wins: Floats
    kept: dict[str, int]
    correlations: Floats
    reward_models: list[str]


def figure_data(config: SelectConfig, store: Store, inputs: SelectionArtifacts) -> FigureData:
    """Read what the figures show; of the scores one shard at a time.

    Args:
        config: resolved.
        store: where the artifacts are.
        inputs: of the selection.
    """
    names = [n for n in METRIC_NAMES if n != "headroom" or config.student is not None]
    ranking = inputs.ranking.open(store).frame(["instruction_id", "eligible", *names])
    columns = ["instruction_id", "cluster_id", "response_model", "response", *names]
    selection = inputs.selection.open(store).frame(columns)
    eligible = ranking.filter("eligible")
    tally = crowd_tally(config, inputs.scores.open(store), inputs.metrics.open(store))
    order, means = [m.name for m in config.models], tally.means()
    places = [order.index(m.name) for m in means]
    kept = kept_counts(selection.drop_nulls("response"), config.models)
    return FigureData(
        metrics={n: eligible[n].drop_nulls().to_numpy() for n in names},
        chosen={n: selection[n].drop_nulls().to_numpy() for n in names},
        clusters=_clusters(config, store, inputs.clusters, eligible, selection),
        quota=config.quota,
        means=means,
        models=[m.name for m in means],
        wins=tally.win_rates()[np.ix_(places, places)],
        kept=kept if any(kept.values()) else {},
        correlations=metric_correlations(ranking, names),
        reward_models=config.reward_names,
    )


def _clusters(
    config: SelectConfig,
    store: Store,
    clusters: Ref | None,
    eligible: pl.DataFrame,
    selection: pl.DataFrame,
) -> pl.DataFrame | None:
    """Count eligible and chosen rows by cluster, and what the quota aims at before it runs short.

    equal: B / C of C clusters with eligible rows; reference: ceil(B / C); proportional: B by the
    share of the eligible rows.
    """
    if clusters is None:
        return None
    groups = clusters.open(store).frame(["instruction_id", "cluster_id"])
    rows = groups.join(eligible.select("instruction_id"), on="instruction_id", how="semi")
    counted = rows.group_by("cluster_id").agg(eligible=pl.len())
    taken = selection.group_by("cluster_id").agg(chosen=pl.len())
    found = counted.join(taken, on="cluster_id", how="left").sort("cluster_id")
    found = found.with_columns(pl.col("chosen").fill_null(0))
    budget, width = selection.height, max(found.height, 1)
    share = {
        "equal": pl.lit(budget / width),
        "reference": pl.lit(float(-(-budget // width))),
        "proportional": pl.col("eligible") * budget / max(int(found["eligible"].sum()), 1),
    }[config.quota]
    return found.with_columns(share=share.cast(pl.Float64))
