"""Stages `arrivals` and `active`: instructions that others know, and that others do not."""

from collections.abc import Callable, Sequence
from typing import Literal

import polars as pl

from crowdselect_core.stages.refs import Ref
from crowdselect_core.stages.shards import per_shard, table_cut
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import Plan, ShardResult
from crowdselect_core.tables import INSTRUCTIONS, check
from crowdselect_core.util.once import Once

VERSION = 1

Kind = Literal["arrivals", "active"]  # rows that the others lack, rows that they have too


def spec(kind: Kind, instructions: Ref, others: Sequence[Ref]) -> Spec:
    """Name the artifact: the instructions, and those that they are held against."""
    inputs = {f"others/{i:06d}": ref.key for i, ref in enumerate(others)}
    return Spec(kind, VERSION, {}, {"instructions": instructions.key, **inputs})


def plan(kind: Kind, store: Store, instructions: Ref, others: Sequence[Ref]) -> Plan:
    """Keep the rows whose id the others lack (`arrivals`), or have too (`active`).

    Output columns: INSTRUCTIONS, in the order of the data set. Facts: those of the instructions.
    """
    artifact = instructions.open(store)
    ids = Once(lambda: pl.concat(r.open(store).frame(["instruction_id"]) for r in others))

    def shard(read: Callable[[], pl.DataFrame]) -> Callable[[], ShardResult]:
        def make() -> ShardResult:
            how: Literal["anti", "semi"] = "anti" if kind == "arrivals" else "semi"
            kept = read().join(ids(), on="instruction_id", how=how, maintain_order="left")
            return ShardResult(check(kept, INSTRUCTIONS, kind))

        return make

    shards = [shard(read) for read in per_shard(artifact)]
    facts = {name: instructions.facts[name] for name in ("instructions", "answers")}
    return Plan(shards, cut=table_cut(artifact), total=len(shards), facts=lambda: facts)
