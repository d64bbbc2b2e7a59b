"""What the stages share: references to artifacts, the open data set, frames cut into shards."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.ingest.dataset import Dataset
from crowdselect_core.ingest.open import open_reader
from crowdselect_core.ingest.reader import Partition


def open_dataset(config: SelectConfig) -> Dataset:
    """Open the data set of a resolved config; nothing is read yet.

    Raises:
        DatasetError: nothing is there, or its format is none that is read.
    """
    return Dataset(
        reader=open_reader(config.dataset),
        config=config.dataset,
        crowd=config.models,
        reward_models=config.reward_names,
        limit=config.limit,
        student=config.student,
    )


def kept_rows(
    instructions: pl.DataFrame, part: Partition
) -> tuple[pl.DataFrame, NDArray[np.int64]]:
    """Return the instructions of a partition, and their places in it.

    Rows that repeat an earlier one are no instructions of their own, so places can be missing.
    """
    rows = instructions["source_row"].to_numpy()
    start, end = np.searchsorted(rows, [part.first_row, part.first_row + part.rows])
    return instructions[int(start) : int(end)], rows[start:end] - part.first_row


def span_of(source_N: NDArray[np.int64], part: Partition) -> tuple[int, int]:
    """Return where the rows of a partition begin and end among rows in ascending source_row."""
    start, end = np.searchsorted(source_N, [part.first_row, part.first_row + part.rows])
    return int(start), int(end)


def holding(partitions: Sequence[Partition], rows: pl.DataFrame) -> list[Partition]:
    """Return the partitions that hold any of the instructions, at least one."""
    return holding_rows(partitions, rows["source_row"].to_numpy())


def holding_rows(partitions: Sequence[Partition], source_N: NDArray[np.int64]) -> list[Partition]:
    """Return the partitions that hold any of the rows, at least one."""
    found = []
    for part in partitions:
        start, end = span_of(source_N, part)
        if end > start:
            found.append(part)
    return found or list(partitions[:1])
