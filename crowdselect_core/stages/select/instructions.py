"""Stage `instructions`: the ids of the data set's rows, each once, and where they stand.

The texts stay where they are; `source_row` finds them again. Ids are read twice: first 8 bytes of
each are held and compared, and then every shard reads its own; those of a small data set are kept
between the two. Of a file that an earlier artifact of this stage knows, nothing is read: its rows
are carried over.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import DatasetError, shown
from crowdselect_core.ingest.dataset import Dataset
from crowdselect_core.ingest.reader import Partition
from crowdselect_core.ingest.whole_rows import differing, row_hashes
from crowdselect_core.stages.base import Stage
from crowdselect_core.stages.partitions import open_dataset
from crowdselect_core.stages.refs import Ref
from crowdselect_core.stages.select.unchanged_files import UnchangedFiles
from crowdselect_core.stages.shards import by_partition
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import Plan, ShardResult
from crowdselect_core.tables import INSTRUCTIONS as TABLE
from crowdselect_core.tables import check

STAGE, VERSION = "instructions", 2
HELD = 96 << 20  # bytes of ids that are kept between the two readings, which may hash all prompts


def spec(config: SelectConfig, earlier: Ref | None = None) -> Spec:
    """Name the artifact: the content of the data set and what its columns are called.

    Raises:
        DatasetError: the data set is not there or cannot be read.
    """
    dataset = open_dataset(config)
    identity: dict[str, Any] = {
        "dataset": dataset.fingerprint(),
        "format": config.dataset.format,
        "columns": config.dataset.columns,
        "limit": config.limit,
    }
    if prompt := dataset.prompt_identity():  # found by itself, and the ids follow from it
        identity["prompt"] = prompt
    return Spec(STAGE, VERSION, identity)


Ids = Callable[[Partition], pl.DataFrame]


def plan(config: SelectConfig, store: Store, earlier: Ref | None = None) -> Plan:
    """Read the ids, drop exact repeats and refuse contradictions; then one shard per partition.

    Output columns: instruction_id, source, source_row, in the order of the data set.
    Counts: rows_in, duplicate_rows. Facts: whether there are instruction texts and answers; per
    file the hash of its content and its rows.

    Args:
        config: the data set.
        store: where `earlier` is.
        earlier: an artifact of this stage, of the data set as it was. It changes no result.

    Raises:
        DatasetError: see `Dataset`; ids that repeat with different content.
        CrowdError: a crowd model without a column.
    """
    dataset = open_dataset(config)
    _ = dataset.layout  # refused before anything is written
    partitions = dataset.partitions(config.shard_rows)
    ids: Ids = partial(_ids, dataset)
    if earlier is not None:
        ids = UnchangedFiles(dataset, partitions, earlier.open(store), spec(config), ids).ids
    ids = _held(ids)
    again = _maybe_repeated(ids, partitions)
    dropped = _repeats(dataset, again, config.shard_rows)

    def shard(part: Partition) -> ShardResult:
        frame = ids(part)
        kept = (
            frame.filter(~pl.col("source_row").is_in(dropped.implode())) if len(dropped) else frame
        )
        check(kept, TABLE, "instructions")
        return ShardResult(kept, {"rows_in": part.rows, "duplicate_rows": part.rows - kept.height})

    def facts() -> dict[str, Any]:
        return {
            "instructions": dataset.layout.instruction is not None,
            "answers": bool(dataset.layout.answers),
            "files": _files(dataset, partitions),
        }

    return by_partition(partitions, shard, config.shard_rows, facts)


INSTRUCTIONS = Stage(
    "instructions", "Read the ids of the data set's rows and refuse contradictions.", spec, plan
)


def _files(dataset: Dataset, partitions: Sequence[Partition]) -> list[list[str | int]]:
    """Return the content hash and the rows of every file, in order."""
    rows = [0] * len(dataset.table.digests())
    for part in partitions:
        rows[part.file] += part.rows
    return [[digest, n] for digest, n in zip(dataset.table.digests(), rows, strict=True)]


def _ids(dataset: Dataset, part: Partition) -> pl.DataFrame:
    """Read the ids of a partition, and where they stand."""
    return pl.concat(
        pl.DataFrame(
            {
                "instruction_id": rows.ids,
                "source": pl.repeat(rows.source, len(rows.ids), eager=True),
                "source_row": np.arange(rows.first_row, rows.first_row + len(rows.ids)),
            }
        )
        for rows in dataset.rows(part)
    )


def _held(ids: Ids) -> Ids:
    """Return `ids` that keeps what it has read, up to about `HELD` bytes, and reads that once."""
    kept: dict[Partition, pl.DataFrame] = {}
    room = HELD

    def read(part: Partition) -> pl.DataFrame:
        nonlocal room
        if part in kept:
            return kept[part]
        frame = ids(part)
        size = int(frame.estimated_size())
        if size <= room:
            room -= size
            kept[part] = frame
        return frame

    return read


def _maybe_repeated(ids: Ids, partitions: Sequence[Partition]) -> pl.DataFrame:
    """Return the rows whose id's 64-bit hash stands more than once; others repeat no id.

    Holds 16 bytes a row while the hashes are compared, whatever the ids and texts.
    """
    hashes = [ids(part)["instruction_id"].hash(seed=0).to_numpy() for part in partitions]
    sorted_N = np.concatenate(hashes)
    sorted_N.sort()
    twice = np.unique(sorted_N[1:][sorted_N[1:] == sorted_N[:-1]])
    del sorted_N
    frames = []
    for part, hashes_P in zip(partitions, hashes, strict=True):
        repeated_P = np.isin(hashes_P, twice)
        if repeated_P.any():
            frames.append(ids(part).filter(pl.Series(repeated_P)))
    return pl.concat(frames) if frames else ids(partitions[0]).clear()


def _repeats(dataset: Dataset, rows: pl.DataFrame, shard_rows: int) -> pl.Series:
    """Return the source rows that repeat an earlier row exactly.

    Raises:
        DatasetError: an id that stands on rows with different content.
    """
    twice = rows.filter(pl.col("instruction_id").is_duplicated())
    if twice.is_empty():
        return pl.Series(dtype=pl.Int64)
    if dataset.is_unanswered:  # the same prompt: what else the rows hold is not asked for
        return _later_ones(twice)
    partitions = dataset.partitions(shard_rows)
    contents = row_hashes(dataset.table, partitions, twice["source_row"].to_list())
    twice = twice.with_columns(
        content=pl.col("source_row").replace_strict(contents, return_dtype=pl.String)
    )
    clash = twice.group_by("instruction_id", maintain_order=True).agg(
        pl.col("content").n_unique(), pl.col("source_row")
    )
    clash = clash.filter(pl.col("content") > 1)
    if clash.height:
        first = twice.filter(pl.col("instruction_id") == clash["instruction_id"][0])
        raise _contradiction(dataset, partitions, first, clash.height)
    return _later_ones(twice)


def _later_ones(twice: pl.DataFrame) -> pl.Series:
    """Return the source rows whose id stands on an earlier row."""
    first_of = twice.group_by("instruction_id").agg(pl.col("source_row").min().alias("first"))
    repeated = twice.join(first_of, on="instruction_id").filter(
        pl.col("source_row") != pl.col("first")
    )
    return repeated["source_row"].sort()


def _contradiction(
    dataset: Dataset, partitions: Sequence[Partition], rows: pl.DataFrame, count: int
) -> DatasetError:
    """Return the error of an id that stands on rows with different content."""
    one = int(rows["source_row"][0])
    other = int(rows.filter(pl.col("content") != rows["content"][0])["source_row"][0])
    columns, values = differing(dataset.table, partitions, one, other)
    places = f"{dataset.table.place(one)} and {dataset.table.place(other).rpartition(', ')[2]}"
    if dataset.layout.instruction_id is None:
        text = dataset.layout.instruction
        said = shown([str(values.get(text.column) if text else "")])
        what = f"the same prompt ({said!r}) stands"
        remedy = "add a column of ids, or remove one of the rows"
    else:
        what = f"the id {shown([rows['instruction_id'][0]])} stands"
        remedy = "give every row its own id, or remove one of the rows"
    return DatasetError(
        f"{places}: {what} on both with different content in {shown(columns, 5)} ({count} such "
        f"{'prompt' if dataset.layout.instruction_id is None else 'id'}(s)); {remedy}"
    )
