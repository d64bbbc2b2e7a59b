"""Stage `instructions`: the ids of the data set's rows, each once, and where they stand.

The texts stay where they are; `source_row` finds them again.
"""

from functools import partial

import numpy as np
import polars as pl

from crowdselect_core.config import SelectConfig
from crowdselect_core.errors import DatasetError, shown
from crowdselect_core.ingest.dataset import Dataset
from crowdselect_core.stages.common import open_dataset
from crowdselect_core.store.build import Part, Plan
from crowdselect_core.store.identity import Spec
from crowdselect_core.tables import INSTRUCTIONS, check

STAGE, VERSION = "instructions", 1


def spec(config: SelectConfig) -> Spec:
    """Name the artifact: the content of the data set and what its columns are called.

    Raises:
        DatasetError: the data set is not there or cannot be read.
    """
    dataset = open_dataset(config)
    return Spec(
        STAGE,
        VERSION,
        {
            "dataset": dataset.fingerprint(),
            "format": config.dataset.format,
            "columns": config.dataset.columns,
            "limit": config.limit,
        },
    )


def plan(config: SelectConfig) -> Plan:
    """Read the ids, drop exact repeats and refuse contradictions; then one shard per partition.

    Output columns: instruction_id, source, source_row, in the order of the data set.
    Counts: rows_in, duplicate_rows. Facts: whether there are instruction texts and answers.

    Raises:
        DatasetError: see `Dataset`; ids that repeat with different content.
        CrowdError: a crowd model without a column.
    """
    dataset = open_dataset(config)
    _ = dataset.layout  # refused before anything is written
    partitions = dataset.partitions(config.shard_rows)
    frames = [
        pl.concat(
            pl.DataFrame(
                {
                    "instruction_id": rows.ids,
                    "source": pl.repeat(rows.source, len(rows.ids), eager=True),
                    "source_row": np.arange(rows.first_row, rows.first_row + len(rows.ids)),
                }
            )
            for rows in dataset.rows(part)
        )
        for part in partitions
    ]
    dropped = _repeats(dataset, pl.concat(frames), config.shard_rows)

    def shard(frame: pl.DataFrame) -> Part:
        kept = (
            frame.filter(~pl.col("source_row").is_in(dropped.implode())) if len(dropped) else frame
        )
        check(kept, INSTRUCTIONS, "instructions")
        return Part(kept, {"rows_in": frame.height, "duplicate_rows": frame.height - kept.height})

    return Plan(
        [partial(shard, frame) for frame in frames],
        cut={"rows": config.shard_rows},
        total=len(frames),
        facts=lambda: {
            "instructions": dataset.layout.instruction is not None,
            "answers": bool(dataset.layout.answers),
        },
    )


def _repeats(dataset: Dataset, rows: pl.DataFrame, shard_rows: int) -> pl.Series:
    """Return the source rows that repeat an earlier row exactly.

    Raises:
        DatasetError: an id that stands on rows with different content.
    """
    twice = rows.filter(pl.col("instruction_id").is_duplicated())
    if twice.is_empty():
        return pl.Series(dtype=pl.Int64)
    contents = dataset.contents(twice["source_row"].to_list(), shard_rows)
    twice = twice.with_columns(
        content=pl.col("source_row").replace_strict(contents, return_dtype=pl.String)
    )
    clash = twice.group_by("instruction_id", maintain_order=True).agg(
        pl.col("content").n_unique(), pl.col("source_row")
    )
    clash = clash.filter(pl.col("content") > 1)
    if clash.height:
        first = clash.row(0, named=True)
        raise DatasetError(
            f"{dataset.config.path}: the id {shown([first['instruction_id']])} stands on rows "
            f"{shown(first['source_row'][:5])} with different content "
            f"({clash.height} such id(s)); give every row its own id, or remove one of the rows"
        )
    first_of = twice.group_by("instruction_id").agg(pl.col("source_row").min().alias("first"))
    repeated = twice.join(first_of, on="instruction_id").filter(
        pl.col("source_row") != pl.col("first")
    )
    return repeated["source_row"].sort()
