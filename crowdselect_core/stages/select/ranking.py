"""Stage `ranking`: every row's quantiles, score and eligibility."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import polars as pl

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import shown
from crowdselect_core.selection.id_lists import read_ids
from crowdselect_core.selection.integration import References, references
from crowdselect_core.selection.methods.rank import rank
from crowdselect_core.selection.metric_weights import method_weights
from crowdselect_core.stages.base import Stage
from crowdselect_core.stages.refs import Ref
from crowdselect_core.stages.select.method_identity import method_identity
from crowdselect_core.stages.select.method_inputs import Given
from crowdselect_core.stages.select.method_ranking import is_rival, rival_ranking
from crowdselect_core.stages.select.metrics import BEST
from crowdselect_core.stages.shards import sliced
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.identity import Spec, canonical
from crowdselect_core.store.plan import Plan
from crowdselect_core.tables import METRIC_NAMES

STAGE, VERSION = "ranking", 2

EXCLUDED, NOT_INCLUDED = "excluded", "not_included"


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


def list_identity(config: SelectConfig) -> dict[str, Any]:
    """Name the lists of ids that rows are chosen among; raises as `spec` does."""
    return {
        name: sha256(canonical(sorted(set(read_ids(path))))).hexdigest()
        for name, path in (("include", config.include), ("exclude", config.exclude))
        if path is not None
    }


def listed_rows(config: SelectConfig) -> pl.Expr:
    """Return whether the lists of ids let a row be chosen, by its instruction_id."""
    ids, allowed = pl.col("instruction_id"), pl.lit(True)
    if config.include is not None:
        allowed &= ids.is_in(_listed(config.include))
    if config.exclude is not None:
        allowed &= ~ids.is_in(_listed(config.exclude))
    return allowed


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

    def make() -> tuple[pl.DataFrame, list[str]]:
        sorted_R_of = None
        if reference is not None:
            sorted_R_of = references(reference.open(store).frame([*METRIC_NAMES, "eligible"]))
        given = Given.of(
            config,
            values.open(store) if values else None,
            vectors.open(store) if vectors else None,
        )
        return ranked(config, store, metrics, answers, sorted_R_of=sorted_R_of, given=given)

    return sliced(make, metrics.rows, config.shard_rows)


RANKING = Stage(
    "ranking", "Integrate the metrics into one score and say which rows are eligible.", spec, plan
)


def ranked(
    config: SelectConfig,
    store: Store,
    metrics: Ref,
    answers: Ref,
    method: str | None = None,
    sorted_R_of: References | None = None,
    given: Given | None = None,
) -> tuple[pl.DataFrame, list[str]]:
    """Return the ranking table by the config's method, or another one; and what to tell of it."""
    table = metrics.open(store).frame()
    fit = answers.open(store).frame()
    table = table.with_columns(fit["answerable"], fit["barred"])
    table = table.with_columns(barred=_barred(config))
    notes: list[str] = []
    if method is None and sorted_R_of is None:  # others hold a part of the rows, or say it again
        notes += _unknown(table["instruction_id"], config)
    if method is None and given is not None and is_rival(config.method):
        return rival_ranking(config, table, given, sorted_R_of), notes
    ranking = rank(
        table,
        method=method or config.method,
        direction="top" if method else config.direction,
        weights=config.weights,
        min_scores=config.min_scores,
        seed=config.seed,
        best_scores=table[BEST],
        sorted_R_of=sorted_R_of,
        warn=notes.append,
    )
    return ranking, notes


def _barred(config: SelectConfig) -> pl.Expr:
    barred = pl.col("barred")
    ids = pl.col("instruction_id")
    if config.include is not None:
        listed = _listed(config.include)
        barred = pl.when(~ids.is_in(listed)).then(pl.lit(NOT_INCLUDED)).otherwise(barred)
    if config.exclude is not None:
        listed = _listed(config.exclude)
        barred = pl.when(ids.is_in(listed)).then(pl.lit(EXCLUDED)).otherwise(barred)
    return barred


def _listed(path: str) -> pl.Expr:
    ids: Sequence[str] = read_ids(path)
    return pl.lit(pl.Series(ids, dtype=pl.String)).implode()


def _unknown(ids: pl.Series, config: SelectConfig) -> list[str]:
    """Return a note on listed ids that the data set does not have: most often a slip."""
    notes = []
    for name, path in (("include", config.include), ("exclude", config.exclude)):
        if path is not None:
            listed = pl.Series(read_ids(path), dtype=pl.String).unique(maintain_order=True)
            unknown = listed.filter(~listed.is_in(ids.implode()))
            if len(unknown):
                notes.append(
                    f"{name}: {len(unknown)} of {len(listed)} ids are not in the data set "
                    f"({shown([unknown[0]])})"
                )
    return notes
