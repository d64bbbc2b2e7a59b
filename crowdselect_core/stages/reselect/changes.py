"""Stages `membership` and `drift`: what a reselection changed, and how far the new rows lie off."""

import numpy as np
import polars as pl

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.metrics import drift
from crowdselect_core.selection.diff import membership
from crowdselect_core.stages.base import Stage
from crowdselect_core.stages.known_rows import KnownRows
from crowdselect_core.stages.refs import Ref, SelectionArtifacts
from crowdselect_core.stages.row_columns import numbered_frames
from crowdselect_core.stages.select.asked_rows import AskedRows
from crowdselect_core.stages.select.candidate_rows import cluster_numbers, with_clusters
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
        known, chosen = (
            one.selection.open(store).frame(["instruction_id"])["instruction_id"]
            for one in (before, now)
        )
        asked = pl.concat([known, chosen]).unique()
        # One after the other; a refit may have ranked by another method than the one before.
        then = AskedRows(config, store, before, asked).placed()
        table = membership(then, AskedRows(config, store, now, asked).told(), new)
        counts = {str(change): int(n) for change, n in table.group_by("change").len().iter_rows()}
        return ShardResult(check(table, TABLE, "membership"), counts)

    return single(make)


MEMBERSHIP = Stage(
    "membership",
    "List the rows that were added, removed and retained, and why.",
    membership_spec,
    membership_plan,
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
        table = drift.drift(fitted, arrived, "new")
        if since[0].key != reference[0].key:
            came = _measured(store, *since, without=reference[0])
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


def _measured(
    store: Store, ranking: Ref, clusters: Ref | None, without: Ref | None = None
) -> pl.DataFrame:
    """Return metrics, eligibility and clusters of rows, without those that another ranking has."""
    opened, found = ranking.open(store), []
    numbers_N = None if clusters is None else cluster_numbers(opened, clusters.open(store))
    others = None if without is None else KnownRows([without.open(store)], ["instruction_id"])
    ids = [] if others is None else ["instruction_id"]
    for start, frame in numbered_frames(opened, [*ids, *METRIC_NAMES, "eligible"]):
        rows = frame.select(*METRIC_NAMES, "eligible")
        rows = with_clusters(rows, numbers_N, np.arange(start, start + frame.height))
        if others is not None:
            is_new_K = others.places(frame["instruction_id"], start) < 0
            rows = rows.filter(pl.Series(is_new_K))
        found.append(rows)
    return pl.concat(found)
