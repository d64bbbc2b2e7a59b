"""Stage `prompts`: the key of every instruction's prompt, by which answers are found again.

A prompt is named by the hash of its messages, so the same text under another id, or in another
data set, is answered once.
"""

import random
from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.ingest.dataset import Dataset
from crowdselect_core.ingest.prompts import Prompt, prompt_key
from crowdselect_core.ingest.reader import Partition
from crowdselect_core.stages.base import Stage, one_cpu
from crowdselect_core.stages.partitions import open_dataset
from crowdselect_core.stages.refs import Ref
from crowdselect_core.stages.shards import by_shard
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import Plan, ShardResult
from crowdselect_core.tables import PROMPTS as TABLE
from crowdselect_core.tables import check

STAGE, VERSION = "prompts", 1

READ_ROWS = 1024  # rows of the data set that are read at once, where its files allow it


def spec(config: SelectConfig, instructions: Ref) -> Spec:
    """Name the artifact: the instructions."""
    return Spec(STAGE, VERSION, {}, {"instructions": instructions.key})


def plan(config: SelectConfig, store: Store, instructions: Ref) -> Plan:
    """Hash the prompts, shard by shard of the instructions.

    Output columns: PROMPTS, in the order of the data set. Counts: no_prompt.

    Raises:
        DatasetError: the data set has no instructions.
    """
    dataset = open_dataset(config)

    def shard(rows: pl.DataFrame) -> ShardResult:
        keys: list[bytes | None] = []
        errors: list[str | None] = []
        for _, prompt in prompts_of(dataset, rows):
            keys.append(None if prompt.error else prompt_key(prompt.messages))
            errors.append(prompt.error)
        frame = rows.select("instruction_id", "source_row").with_columns(
            pl.Series("prompt", keys, dtype=pl.Binary),
            pl.Series("error", errors, dtype=pl.String),
        )
        without = len(errors) - errors.count(None)
        return ShardResult(
            check(frame, TABLE, "prompts"), {"no_prompt": without} if without else {}
        )

    return by_shard(instructions.open(store), shard)


PROMPTS = Stage(
    "prompts", "Name every instruction's prompt by the hash of its messages.", spec, plan, one_cpu
)


def prompts_of(dataset: Dataset, rows: pl.DataFrame) -> Iterator[tuple[int, Prompt]]:
    """Yield (place in `rows`, prompt) of rows that are in the order of the data set.

    Args:
        dataset: an open data set.
        rows: with the column source_row, ascending.
    """
    for places, prompts in prompt_batches(dataset, rows):
        yield from zip(places, prompts, strict=True)


def prompt_batches(
    dataset: Dataset, rows: pl.DataFrame, *, shuffled: bool = False
) -> Iterator[tuple[list[int], list[Prompt]]]:
    """Yield the prompts of rows in batches, as the data set's files give them, or shuffled."""
    source_N = rows["source_row"].to_numpy()
    parts = near(dataset, source_N)
    if shuffled:
        random.shuffle(parts)
    for part in parts:
        for first, prompts in dataset.prompts(part):
            start, end = np.searchsorted(source_N, [first, first + len(prompts)])
            here = source_N[start:end] - first
            yield list(range(int(start), int(end))), [prompts[i] for i in here.tolist()]


def near(dataset: Dataset, source_N: NDArray[np.int64]) -> list[Partition]:
    """Return the small partitions that hold any of these rows, which are in ascending order."""
    if not len(source_N):
        return []
    found = []
    for part in dataset.partitions(READ_ROWS):
        start, end = np.searchsorted(source_N, [part.first_row, part.first_row + part.rows])
        if end > start:
            found.append(part)
    return found
