"""Stages `arrivals` and `active`: instructions that others know, and that others do not."""

from collections.abc import Callable
from typing import Literal

import polars as pl

from crowdselect_core.stages.common import Once, Ref, per_shard, table_cut
from crowdselect_core.store.build import Part, Plan
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.store import Store
from crowdselect_core.tables import INSTRUCTIONS, check

VERSION = 1

Kind = Literal["arrivals", "active"]  # rows that the others lack, rows that they have too


def spec(kind: Kind, instructions: Ref, others: Ref) -> Spec:
    """Name the artifact: the instructions, and those that they are held against."""
    return Spec(kind, VERSION, {}, {"instructions": instructions.key, "others": others.key})


def plan(kind: Kind, store: Store, instructions: Ref, others: Ref) -> Plan:
    """Keep the rows whose id the others lack (`arrivals`), or have too (`active`).

    Output columns: INSTRUCTIONS, in the order of the data set. Facts: those of the instructions.
    """
    artifact = instructions.open(store)
    ids = Once(lambda: others.open(store).frame(["instruction_id"]))

    def shard(read: Callable[[], pl.DataFrame]) -> Callable[[], Part]:
        def make() -> Part:
            how: Literal["anti", "semi"] = "anti" if kind == "arrivals" else "semi"
            kept = read().join(ids(), on="instruction_id", how=how, maintain_order="left")
            return Part(check(kept, INSTRUCTIONS, kind))

        return make

    shards = [shard(read) for read in per_shard(artifact)]
    facts = {name: instructions.facts[name] for name in ("instructions", "answers")}
    return Plan(shards, cut=table_cut(artifact), total=len(shards), facts=lambda: facts)
