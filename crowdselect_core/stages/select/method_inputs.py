"""What a rival method is given beside the metrics, read no wider than it needs.

Array names carry their shape: E rows that may be chosen, in id order, D components.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.annotate.rds_values import NARROW, SIMILARITIES, as_matrix
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.selection.methods.rds import Block
from crowdselect_core.store.artifacts import Artifact

ROWS_AT_ONCE = 4_096  # whose cosines to the targets are read together


@dataclass(frozen=True)
class Given:
    """What a rival method is given beside the metrics.

    Args:
        values: what it ranks by, by instruction_id.
        vectors: the embeddings of the rows.
        table: the artifact of the values, for columns that are too wide to be held at once.
    """

    values: pl.DataFrame | None = None
    vectors: Artifact | None = None
    table: Artifact | None = None

    @classmethod
    def of(cls, config: SelectConfig, values: Artifact | None, vectors: Artifact | None) -> Self:
        """Read the values but for those that are too wide."""
        columns = [*NARROW] if config.method == "rds+" else None
        return cls(values.frame(columns) if values else None, vectors, values)


def similarities(table: Artifact, places: pl.DataFrame) -> Iterator[Block]:
    """Yield the rows that have a place, block by block, with their cosines to the targets."""
    for frame in table.frames(["instruction_id", SIMILARITIES]):
        ids = frame.select("instruction_id")
        placed = ids.join(places, on="instruction_id", how="left", maintain_order="left")
        rows = frame.select(SIMILARITIES, placed["place"])
        for part in rows.iter_slices(ROWS_AT_ONCE):
            known = part.filter(pl.col("place").is_not_null())
            if known.height:
                yield known["place"].to_numpy(), as_matrix(known[SIMILARITIES]).astype(np.float32)


def eligible_vectors(
    candidates: pl.DataFrame, given: Given
) -> tuple[NDArray[np.float32], pl.Series]:
    """Return vectors_ED of the eligible rows of a ranking and their ids, in id order.

    Memory: all vectors of the rows at once.
    """
    if given.vectors is None:
        raise ValueError("no vectors are given")
    fit = candidates.filter("eligible").select("instruction_id").sort("instruction_id")
    frames = [
        frame.join(fit, on="instruction_id", how="semi")
        for frame in given.vectors.frames(["instruction_id", "vector"])
    ]
    table = pl.concat(frames).sort("instruction_id")
    return table["vector"].to_numpy(), table["instruction_id"]
