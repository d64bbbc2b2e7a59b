"""Tables of known rows and of new rows as one table of all rows of today.

A joined table is of the same kind as its parts and is read like them. Its rows are copied, never
computed: what is known keeps its numbers.
"""

from collections.abc import Callable

import polars as pl

from crowdselect_core.errors import DamagedArtifact
from crowdselect_core.stages.carried import ById
from crowdselect_core.stages.common import Once, Ref, per_shard, table_cut
from crowdselect_core.store.build import Part, Plan
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.store import Store

VERSION = 1

PLACE = ("source", "source_row")  # where a row stands today, whatever the part says


def spec(instructions: Ref, known: Ref, new: Ref | None) -> Spec:
    """Name the artifact: the rows of today, and the tables that their numbers come from."""
    inputs = {"instructions": instructions.key, "known": known.key}
    inputs |= {"new": new.key} if new else {}
    return Spec(known.stage, VERSION, {"joined": True}, inputs)


def plan(store: Store, instructions: Ref, known: Ref, new: Ref | None) -> Plan:
    """Lay out, for every row of today, its row of the new or of the known table.

    Output columns: those of the parts, in the order of today's instructions. Facts: those of the
    known table.

    Raises:
        DamagedArtifact: a row stands in neither part.
    """
    today = instructions.open(store)
    parts = [ref.open(store) for ref in (new, known) if ref is not None]
    rows = Once(lambda: ById(parts))
    columns = parts[-1].shard(0).columns

    def shard(read: Callable[[], pl.DataFrame]) -> Callable[[], Part]:
        def make() -> Part:
            wanted = read()
            found = rows().of(wanted["instruction_id"])
            if (found.height if found is not None else 0) < wanted.height:
                raise DamagedArtifact(f"{today.manifest.folder}: rows of it are in no table")
            if found is None:
                return Part(parts[-1].shard(0).clear())
            places = [c for c in PLACE if c in columns]
            left = wanted.select("instruction_id", *places)
            table = left.join(
                found.drop(places), on="instruction_id", how="left", maintain_order="left"
            )
            return Part(table.select(columns))

        return make

    shards = [shard(read) for read in per_shard(today)]
    return Plan(shards, cut=table_cut(today), total=len(shards), facts=lambda: dict(known.facts))
