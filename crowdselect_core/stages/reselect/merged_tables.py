"""Tables of known rows and of new rows as one table of all rows of today.

A joined table is of the same kind as its parts and is read like them. Its rows are copied, never
computed: what is known keeps its numbers. A shard of a part that has the rows of one shard of
today is copied as it lies, without being decoded.
"""

from collections.abc import Sequence

import polars as pl

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import DamagedArtifact
from crowdselect_core.stages.base import Stage
from crowdselect_core.stages.known_rows import KnownRows
from crowdselect_core.stages.refs import Ref
from crowdselect_core.stages.shards import by_numbered_shard
from crowdselect_core.store import safe_parquet
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import Plan, ShardCopy, ShardResult
from crowdselect_core.tables import is_score_column

VERSION = 1

PLACE = ("source", "source_row")  # where a row stands today, whatever the part says


def spec(config: SelectConfig, instructions: Ref, parts: Sequence[Ref]) -> Spec:
    """Name the artifact: the rows of today, and the tables that their numbers come from."""
    inputs = {f"parts/{i:06d}": ref.key for i, ref in enumerate(parts)}
    return Spec(
        parts[0].stage, VERSION, {"joined": True}, {"instructions": instructions.key, **inputs}
    )


MISSING = "missing_scores"  # what a table of scores counts


def _counts(table: pl.DataFrame) -> dict[str, int]:
    """Count what the stage of the table counts: missing scores, of a table of scores."""
    scores = [name for name in table.columns if is_score_column(name)]
    return {MISSING: sum(table[n].null_count() for n in scores)} if scores else {}


def _copied(
    known: KnownRows, wanted: pl.DataFrame, first: int, columns: list[str]
) -> ShardCopy | None:
    """Return the shard of a part that has exactly these rows, where they stand today."""
    data = known.shard(wanted, first)
    if data is None or safe_parquet.column_names(data) != columns:
        return None
    if not any(is_score_column(name) for name in columns):
        return ShardCopy(data, wanted.height)
    counts = safe_parquet.read_metadata(data)["counts"]
    if MISSING not in counts:  # no shard of the stage of scores: it is written anew
        return None
    return ShardCopy(data, wanted.height, {MISSING: int(counts[MISSING])})


def plan(config: SelectConfig, store: Store, instructions: Ref, parts: Sequence[Ref]) -> Plan:
    """Lay out, for every row of today, its row of the one part that has it.

    Output columns: those of the parts, in the order of today's instructions. Facts: those of the
    first part.

    Raises:
        DamagedArtifact: a row stands in no part.
    """
    today = instructions.open(store)
    opened = [ref.open(store) for ref in parts]
    known = KnownRows(opened)
    columns = opened[0].shard(0).columns
    places = [name for name in PLACE if name in columns]

    def shard(wanted: pl.DataFrame, first: int) -> ShardResult | ShardCopy:
        copied = _copied(known, wanted.select("instruction_id", *places), first, columns)
        if copied is not None:
            return copied
        found = known.rows(wanted["instruction_id"], first)
        if found.height < wanted.height:
            raise DamagedArtifact(f"{today.manifest.folder}: rows of it are in no table")
        table = found.with_columns(wanted[name] for name in places).select(columns)
        return ShardResult(table, _counts(table))

    return by_numbered_shard(today, shard, facts=lambda: dict(parts[0].facts))


JOINED = Stage("joined", "Concatenate the old and the new rows of a table.", spec, plan)
