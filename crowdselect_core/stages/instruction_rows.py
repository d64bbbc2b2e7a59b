"""The instructions of a run by the partitions of its data set."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.ingest.reader import Partition
from crowdselect_core.stages.partitions import holding_rows, span_of
from crowdselect_core.stages.row_columns import RowReader, source_rows
from crowdselect_core.store.artifacts import Artifact

PLACES = 8  # bytes that are held of every row


class InstructionRows:
    """The instructions of each partition, and where they stand in it.

    Rows that repeat an earlier one are no instructions of their own, so places can be missing.
    Memory: PLACES of all rows, and a few shards.

    Args:
        instructions: an artifact of the stage `instructions`, or one with the same rows in the same
            order and their `source_row`.
        partitions: all of the data set.
        columns: what is read of a row; None: all.

    Attributes:
        partitions: those that hold any of the rows, at least one.
        source_N: where every row stands in the data set, ascending.
    """

    def __init__(
        self,
        instructions: Artifact,
        partitions: Sequence[Partition],
        columns: Sequence[str] | None = ("instruction_id",),
    ) -> None:
        self._rows = RowReader(instructions, columns)
        self.source_N = source_rows(instructions, sum(part.rows for part in partitions))
        self.partitions = holding_rows(partitions, self.source_N)

    def of(self, part: Partition) -> tuple[pl.DataFrame, NDArray[np.int64]]:
        """Return the instructions of a partition, and their places in it, which ascend."""
        start, end = span_of(self.source_N, part)
        return self._rows.span(start, end), self.source_N[start:end] - part.first_row
