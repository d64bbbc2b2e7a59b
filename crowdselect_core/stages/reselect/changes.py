"""Stages `membership` and `drift`: what a reselection changed, and how far the new rows lie off."""

import polars as pl

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.metrics import drift
from crowdselect_core.selection.diff import membership
from crowdselect_core.selection.explanations import explained
from crowdselect_core.stages.base import Stage
from crowdselect_core.stages.refs import Ref, SelectionArtifacts
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import Plan, ShardResult, single
from crowdselect_core.tables import MEMBERSHIP as TABLE
from crowdselect_core.tables import METRIC_NAMES, check

MEMBERSHIP_VERSION, DRIFT_VERSION = 2, 1

Measured = tuple[Ref, Ref | None]  # a ranking, and the clusters of its rows


def membership_spec(
    config: SelectConfig, before: SelectionArtifacts, now: SelectionArtifacts, arrived: Ref
) -> Spec:
    """Name the artifact: the two selections, and the rows that were not known."""
    inputs = {"before": before.selection.key, "now": now.selection.key, "arrived": arrived.key}
    return Spec("membership", MEMBERSHIP_VERSION, {}, inputs)


def membership_plan(
    config: SelectConfig,
    store: Store,
    before: SelectionArtifacts,
    now: SelectionArtifacts,
    arrived: Ref,
) -> Plan:
    """Compare the selections; output columns: tables.MEMBERSHIP."""

    def make() -> ShardResult:
        new = arrived.open(store).frame(["instruction_id"])["instruction_id"]
        known = before.selection.open(store).frame(["instruction_id"])["instruction_id"]
        fates_now = fates(config, store, now, known)
        table = membership(fates(config, store, before), fates_now, new)
        counts = {str(change): int(n) for change, n in table.group_by("change").len().iter_rows()}
        return ShardResult(check(table, TABLE, "membership"), counts)

    return single(make)


MEMBERSHIP = Stage(
    "membership",
    "List the rows that were added, removed and retained, and why.",
    membership_spec,
    membership_plan,
)


def fates(
    config: SelectConfig,
    store: Store,
    inputs: SelectionArtifacts,
    asked: pl.Series | None = None,
) -> pl.DataFrame:
    """Return every row of a selection's data set with its place, and some with their reason.

    Args:
        config: of the selection.
        store: where the artifacts are.
        inputs: of the selection.
        asked: ids of rows whose reason is wanted beside those of `explained`.
    """
    return explained(
        inputs.ranking.open(store).frame(),
        inputs.clusters.open(store).frame() if inputs.clusters else None,
        inputs.selection.open(store).frame(["instruction_id", "rank"]),
        config,
        asked,
    )


def drift_spec(config: SelectConfig, reference: Measured, new: Measured, since: Measured) -> Spec:
    """Name the artifact: rankings and clusters of the three."""
    named = {"reference": reference, "new": new, "since": since}
    inputs = {f"{name}/{ref.stage}": ref.key for name, refs in named.items() for ref in refs if ref}
    return Spec("drift", DRIFT_VERSION, {}, inputs)


def drift_plan(
    config: SelectConfig, store: Store, reference: Measured, new: Measured, since: Measured
) -> Plan:
    """Hold the new rows, and all that came since the measures were fitted, against reference.

    Args:
        config: of the run; nothing of it changes the result.
        store: where the artifacts are.
        reference: ranking and clusters of the rows that the measures were fitted on.
        new: of the rows that arrived now.
        since: of all rows known before; those that are not of reference came since.
    """

    def make() -> ShardResult:
        fitted, arrived = _measured(store, *reference), _measured(store, *new)
        earlier = _measured(store, *since)
        came = earlier.join(fitted, on="instruction_id", how="anti")
        table = drift.drift(fitted, arrived, "new")
        if came.height:
            both = pl.concat([came, arrived])
            table = pl.concat([table, drift.drift(fitted, both, "since the fit")])
        return ShardResult(table)

    return single(make)


DRIFT = Stage(
    "drift",
    "Compare the new rows with the rows that metrics and clusters were fitted on.",
    drift_spec,
    drift_plan,
)


def _measured(store: Store, ranking: Ref, clusters: Ref | None) -> pl.DataFrame:
    table = ranking.open(store).frame(["instruction_id", *METRIC_NAMES, "eligible"])
    if clusters is None:
        return table.with_columns(cluster_id=pl.lit(None, dtype=pl.Int64))
    groups = clusters.open(store).frame(["instruction_id", "cluster_id"])
    return table.join(groups, on="instruction_id", how="left", maintain_order="left")
