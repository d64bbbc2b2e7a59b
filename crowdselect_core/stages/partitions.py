"""What the stages share: the open data set, and its partitions that hold rows of a run."""

from collections.abc import Sequence

import numpy as np
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


def span_of(source_N: NDArray[np.int64], part: Partition) -> tuple[int, int]:
    """Return where the rows of a partition begin and end among rows in ascending source_row."""
    start, end = np.searchsorted(source_N, [part.first_row, part.first_row + part.rows])
    return int(start), int(end)


def holding_rows(partitions: Sequence[Partition], source_N: NDArray[np.int64]) -> list[Partition]:
    """Return the partitions that hold any of the rows, at least one."""
    found = []
    for part in partitions:
        start, end = span_of(source_N, part)
        if end > start:
            found.append(part)
    return found or list(partitions[:1])
