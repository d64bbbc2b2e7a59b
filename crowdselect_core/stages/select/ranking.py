"""Stage `ranking`: every row's quantiles, score and eligibility."""

from typing import Any

import numpy as np
import polars as pl

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.selection.metric_weights import method_weights
from crowdselect_core.selection.quantiles import References, references_of
from crowdselect_core.stages.base import Stage
from crowdselect_core.stages.refs import Ref
from crowdselect_core.stages.row_columns import floats, numbered_frames
from crowdselect_core.stages.select.listed import UnknownIds, barred_rows, list_identity
from crowdselect_core.stages.select.method_identity import method_identity
from crowdselect_core.stages.select.method_inputs import Given
from crowdselect_core.stages.select.method_ranking import is_rival, rival_ranking
from crowdselect_core.stages.select.ranked_rows import RankedRows, RankingColumns
from crowdselect_core.stages.shards import sliced
from crowdselect_core.store.artifacts import Artifact, Store
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import Plan, ShardResult
from crowdselect_core.tables import METRIC_NAMES
from crowdselect_core.util.once import Once

STAGE, VERSION = "ranking", 2


def spec(
    config: SelectConfig,
    metrics: Ref,
    answers: Ref,
    reference: Ref | None = None,
    values: Ref | None = None,
    vectors: Ref | None = None,
) -> Spec:
    """Name the artifact: metrics and answers, the method with what it uses, the lists of ids.

    Raises:
        ConfigError: a list of ids cannot be read.
    """
    inputs = {"metrics": metrics.key, "answers": answers.key}
    more = {"reference": reference, "values": values, "vectors": vectors}
    inputs |= {name: ref.key for name, ref in more.items() if ref is not None}
    return Spec(STAGE, VERSION, identity(config), inputs)


def identity(config: SelectConfig) -> dict[str, Any]:
    """Return what of the config changes a ranking; raises as `spec` does."""
    identity: dict[str, Any] = {"method": config.method, "direction": config.direction}
    weights = method_weights(config.method, config.weights)
    if weights is not None:
        identity |= {"weights": list(weights), "min_scores": config.min_scores}
    if config.method in ("random", "teacher"):
        identity["seed"] = config.seed
    identity |= method_identity(config)
    return identity | list_identity(config)


def plan(
    config: SelectConfig,
    store: Store,
    metrics: Ref,
    answers: Ref,
    reference: Ref | None = None,
    values: Ref | None = None,
    vectors: Ref | None = None,
) -> Plan:
    """Rank all rows as a whole (quantiles are over all of them); shards are slices.

    Output columns: RANKING, in the order of the data set, cluster_id null; then what the method
    ranks by, under its name.

    Args:
        config: the method and what it uses.
        store: where the artifacts are.
        metrics: of the rows.
        answers: of the rows.
        reference: a ranking of other rows, among whose eligible ones the quantiles are taken.
        values: what the method ranks by, by instruction_id, where it is a number of each row.
        vectors: of the rows, where the method holds rows against each other.
    """

    if not is_rival(config.method):
        opened = metrics.open(store), answers.open(store)
        return _streamed(config, opened, reference.open(store) if reference else None)

    def make() -> tuple[pl.DataFrame, list[str]]:
        sorted_R_of = None
        if reference is not None:
            sorted_R_of = stored_references(reference.open(store))
        given = Given.of(
            config,
            values.open(store) if values else None,
            vectors.open(store) if vectors else None,
        )
        return _by_rival(config, store, metrics, answers, given, sorted_R_of)

    return sliced(make, metrics.rows, config.shard_rows)


def _streamed(
    config: SelectConfig, opened: tuple[Artifact, Artifact], reference: Artifact | None
) -> Plan:
    """Rank by metrics, a draw or the best score: in columns, and shard by shard."""
    rows = RankedRows(config, *opened)

    def columns() -> RankingColumns:
        sorted_R_of = None
        if reference is not None:
            sorted_R_of = stored_references(reference)
        return rows.columns(sorted_R_of)

    whole, size = Once(columns), config.shard_rows

    def shard(index: int) -> ShardResult:
        made = whole()
        start, end = index * size, min((index + 1) * size, rows.rows)
        return ShardResult(rows.table(made, start, end), notes=made.notes)

    return Plan(-(-rows.rows // size), shard, cut={"rows": size})


RANKING = Stage(
    "ranking", "Integrate the metrics into one score and say which rows are eligible.", spec, plan
)


def stored_references(ranking: Artifact) -> References:
    """Return what later rows' quantiles are taken among; see `quantiles.references`."""
    values_N_of = {name: np.empty(ranking.rows) for name in METRIC_NAMES}
    eligible_N = np.empty(ranking.rows, dtype=bool)
    for start, frame in numbered_frames(ranking, [*METRIC_NAMES, "eligible"]):
        here = slice(start, start + frame.height)
        eligible_N[here] = frame["eligible"].fill_null(False).to_numpy()
        for name, values_N in values_N_of.items():
            values_N[here] = floats(frame[name])
    return references_of(values_N_of, eligible_N)


def ranked(
    config: SelectConfig, store: Store, metrics: Ref, answers: Ref, given: Given
) -> tuple[pl.DataFrame, list[str]]:
    """Return the whole ranking table, and what to tell of it."""
    if is_rival(config.method):
        return _by_rival(config, store, metrics, answers, given, None)
    rows = RankedRows(config, metrics.open(store), answers.open(store))
    made = rows.columns(None)
    return rows.table(made, 0, rows.rows), made.notes


def _by_rival(
    config: SelectConfig,
    store: Store,
    metrics: Ref,
    answers: Ref,
    given: Given,
    sorted_R_of: References | None,
) -> tuple[pl.DataFrame, list[str]]:
    """Return the ranking table by a rival method, and what to tell of it."""
    table = metrics.open(store).frame()
    fit = answers.open(store).frame()
    table = table.with_columns(fit["answerable"], fit["barred"])
    table = table.with_columns(barred=barred_rows(config))
    notes: list[str] = []
    if sorted_R_of is None:  # otherwise these are a part of the rows
        unknown = UnknownIds(config)
        unknown.add(table["instruction_id"])
        notes += unknown.notes()
    return rival_ranking(config, table, given, sorted_R_of), notes
