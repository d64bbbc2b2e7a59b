"""What every embedder offers, and the rows that those are fitted on which have to be fitted."""

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.util.hashed_random import uniform

# Rows that the lexical embedder is fitted on; see `lexical` for the measurement.
FIT_ROWS = 20_000

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


def fit_sample(parts: Iterable[pl.Series], rows: int, seed: int) -> NDArray[np.int64]:
    """Choose the rows to fit on: those with the smallest draws, or all where there are no more.

    The draw of a row is `draws.uniform(id, seed, "fit")`, so the choice is the same whatever the
    order of the rows and the shards. Memory: one part, and the rows that are chosen.

    Args:
        parts: distinct instruction ids, part by part.
        rows: the most rows to choose, at least 1.
        seed: the run's seed.

    Returns:
        Positions in the parts as they lie behind each other, in the order of the ids.
    """
    kept = pl.DataFrame(schema={"id": pl.String, "row": pl.Int64, "draw": pl.Float64})
    start = 0
    for ids in parts:
        drawn = pl.DataFrame(
            {
                "id": ids,
                "row": np.arange(start, start + len(ids)),
                "draw": uniform(ids, seed, "fit"),
            }
        )
        start += len(ids)
        if kept.height == rows:  # most rows of later parts come behind the last one that is kept
            drawn = drawn.filter(pl.col("draw") <= kept["draw"][-1])
        kept = pl.concat([kept, drawn]).sort("draw", "id").head(rows)
    return kept.sort("id")["row"].to_numpy()
