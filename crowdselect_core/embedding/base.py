"""What every embedder offers, and the rows that those are fitted on which have to be fitted."""

from collections.abc import Callable, Iterable, Sequence
from math import sqrt
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.util.hashed_random import uniform

# Rows that the lexical embedder is fitted on; see `lexical` for the measurement.
FIT_ROWS = 20_000

# Standard deviations of how many draws lie below a share, so that they are nearly never too few.
SPARE = 8

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


def fit_vectors(
    frames: Callable[[], Iterable[pl.DataFrame]], total: int, rows: int, seed: int
) -> Vectors:
    """Return the vectors of the rows that `fit_sample` chooses, in the order of the ids.

    The largest draw of `rows` among `total` is known to within little before any row is read, so
    the vectors of a few more rows are kept, and all rows are read once. Were they too few, more
    would be kept in another pass.

    Args:
        frames: begins a pass; columns instruction_id, distinct, and vector, part by part.
        total: rows of all parts.
        rows: the most rows to choose, at least 1.
        seed: the run's seed.

    Returns:
        vectors_ND, N the smaller of `rows` and `total`.
    """
    share = (rows + SPARE * sqrt(rows)) / max(total, 1)
    near = pl.concat([_drawn_below(share, frame, seed) for frame in frames()])
    while near.height < min(rows, total) and share < 1:
        share *= 2
        near = pl.concat([_drawn_below(share, frame, seed) for frame in frames()])
    drawn = near.select("draw", "instruction_id").with_row_index()
    chosen = drawn.sort("draw", "instruction_id").head(rows).sort("instruction_id")["index"]
    vectors: Vectors = near["vector"].gather(chosen).to_numpy()
    return vectors


def _drawn_below(share: float, frame: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Return the rows whose draws are below a share, with them."""
    drawn = frame.with_columns(draw=pl.Series(uniform(frame["instruction_id"], seed, "fit")))
    return drawn.filter(pl.col("draw") < share)
