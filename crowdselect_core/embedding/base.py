"""What every embedder offers, and the rows that those are fitted on which have to be fitted."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.util.hashed_random import uniform

# Rows that the lexical embedder is fitted on; see `lexical` for the measurement.
FIT_ROWS = 20_000
DRAWN_ROWS = 1 << 18  # rows that are drawn for at a time: a draw takes a Python text

Vectors = NDArray[np.float32]


class Embedder(Protocol):
    """Something that turns texts into vectors of one width."""

    @property
    def width(self) -> int:
        """Components of a vector, at least 1."""
        ...

    def transform(self, texts: Sequence[str]) -> Vectors:
        """Return one row of `width` components per text, in the order of the texts."""
        ...


def fit_sample(ids: pl.Series, rows: int, seed: int) -> NDArray[np.int64]:
    """Choose the rows to fit on: those with the smallest draws, or all where there are no more.

    The draw of a row is `draws.uniform(id, seed, "fit")`, so the choice is the same whatever the
    order of the rows and the shards.

    Args:
        ids: distinct instruction ids.
        rows: the most rows to choose, at least 1.
        seed: the run's seed.

    Returns:
        Positions in `ids`, in the order of the ids.
    """
    table = pl.DataFrame({"id": ids}).with_row_index("row")
    if table.height > rows:
        kept = list[pl.DataFrame]()
        for part in table.iter_slices(DRAWN_ROWS):
            draws = uniform(part["id"].to_list(), seed, "fit")
            kept.append(part.with_columns(draw=pl.Series(draws)))
            kept = [pl.concat(kept).sort("draw", "id").head(rows)]
        table = kept[0]
    return table.sort("id")["row"].cast(pl.Int64).to_numpy()
