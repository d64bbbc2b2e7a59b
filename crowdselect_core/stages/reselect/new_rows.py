"""Stages `arrivals` and `active`: instructions that others know, and that others do not."""

from collections.abc import Sequence

import polars as pl

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.stages.base import Stage
from crowdselect_core.stages.known_rows import KnownRows
from crowdselect_core.stages.refs import Ref
from crowdselect_core.stages.shards import by_numbered_shard
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import Plan, ShardResult
from crowdselect_core.tables import INSTRUCTIONS, check

VERSION = 1


def arrivals_spec(config: SelectConfig, instructions: Ref, known: Sequence[Ref]) -> Spec:
    """Name the artifact: the instructions, and the tables whose rows are known."""
    return _spec("arrivals", instructions, known)


def arrivals_plan(
    config: SelectConfig, store: Store, instructions: Ref, known: Sequence[Ref]
) -> Plan:
    """Find the rows whose id is not known.

    Output columns: INSTRUCTIONS, in the order of the data set. Facts: those of the instructions.
    """
    return _plan("arrivals", store, instructions, known, known=False)


def active_spec(config: SelectConfig, instructions: Ref, raw: Ref) -> Spec:
    """Name the artifact: the instructions, and those that the data set has today."""
    return _spec("active", instructions, [raw])


def active_plan(config: SelectConfig, store: Store, instructions: Ref, raw: Ref) -> Plan:
    """Leave out the rows that are gone from the data set.

    Output columns: INSTRUCTIONS, in the order of `instructions`. Facts: theirs.
    """
    return _plan("active", store, instructions, [raw], known=True)


ARRIVALS = Stage(
    "arrivals", "Find the rows that the base does not have.", arrivals_spec, arrivals_plan
)
ACTIVE = Stage(
    "active", "Drop the rows that were removed from the data set.", active_spec, active_plan
)


def _spec(stage: str, instructions: Ref, others: Sequence[Ref]) -> Spec:
    inputs = {f"others/{i:06d}": ref.key for i, ref in enumerate(others)}
    return Spec(stage, VERSION, {}, {"instructions": instructions.key, **inputs})


def _plan(
    stage: str, store: Store, instructions: Ref, others: Sequence[Ref], *, known: bool
) -> Plan:
    """Keep the rows whose ids the others have, or those whose ids they do not have."""
    theirs = KnownRows([ref.open(store) for ref in others], ["instruction_id"])

    def shard(rows: pl.DataFrame, first: int) -> ShardResult:
        is_known_K = theirs.places(rows["instruction_id"], first) >= 0
        left = rows.filter(pl.Series(is_known_K == known))
        return ShardResult(check(left, INSTRUCTIONS, stage))

    facts = {name: instructions.facts[name] for name in ("instructions", "answers")}
    return by_numbered_shard(instructions.open(store), shard, facts=lambda: facts)
