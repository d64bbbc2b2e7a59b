"""Tables of known rows and of new rows as one table of all rows of today.

A joined table is of the same kind as its parts and is read like them. Its rows are copied, never
computed: what is known keeps its numbers.
"""

from collections.abc import Sequence

import polars as pl

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import DamagedArtifact
from crowdselect_core.stages.base import Stage
from crowdselect_core.stages.refs import Ref
from crowdselect_core.stages.select.row_lookup import RowLookup
from crowdselect_core.stages.shards import by_shard
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import Plan, ShardResult
from crowdselect_core.tables import is_score_column
from crowdselect_core.util.once import Once

VERSION = 1

PLACE = ("source", "source_row")  # where a row stands today, whatever the part says


def spec(config: SelectConfig, instructions: Ref, parts: Sequence[Ref]) -> Spec:
    """Name the artifact: the rows of today, and the tables that their numbers come from."""
    inputs = {f"parts/{i:06d}": ref.key for i, ref in enumerate(parts)}
    return Spec(
        parts[0].stage, VERSION, {"joined": True}, {"instructions": instructions.key, **inputs}
    )


def _counts(table: pl.DataFrame) -> dict[str, int]:
    """Count what the stage of the table counts: missing scores, of a table of scores."""
    scores = [name for name in table.columns if is_score_column(name)]
    return {"missing_scores": sum(table[n].null_count() for n in scores)} if scores else {}


def plan(config: SelectConfig, store: Store, instructions: Ref, parts: Sequence[Ref]) -> Plan:
    """Lay out, for every row of today, its row of the one part that has it.

    Output columns: those of the parts, in the order of today's instructions. Facts: those of the
    first part.

    Raises:
        DamagedArtifact: a row stands in no part.
    """
    today = instructions.open(store)
    opened = [ref.open(store) for ref in parts]
    rows = Once(lambda: RowLookup(opened))
    columns = opened[0].shard(0).columns

    def shard(wanted: pl.DataFrame) -> ShardResult:
        found = rows().of(wanted["instruction_id"])
        if (found.height if found is not None else 0) < wanted.height:
            raise DamagedArtifact(f"{today.manifest.folder}: rows of it are in no table")
        if found is None:
            return ShardResult(opened[0].shard(0).clear())
        places = [c for c in PLACE if c in columns]
        left = wanted.select("instruction_id", *places)
        table = left.join(
            found.drop(places), on="instruction_id", how="left", maintain_order="left"
        )
        return ShardResult(table.select(columns), _counts(table))

    return by_shard(today, shard, facts=lambda: dict(parts[0].facts))


JOINED = Stage("joined", "Concatenate the old and the new rows of a table.", spec, plan)
