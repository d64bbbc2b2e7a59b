"""Which rows the page can show beside the chosen ones: a random sample by hash of the id."""

import numpy as np
import polars as pl

from crowdselect_core.util.hashed_random import uniform

MOST_ROWS = 20_000  # points of the map, and rows whose instructions are read
MOST_CHOSEN = 5_000  # of these that are chosen ones, the best by rank


def sampled(rows: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Return at most MOST_ROWS rows: the best MOST_CHOSEN chosen ones, the others at random.

    Input columns: instruction_id, rank (null where not chosen); the order is kept.

    Args:
        rows: all rows.
        seed: of the draw, which is a hash of (seed, id).
    """
    if rows.height <= MOST_ROWS:
        return rows
    draw_N = uniform(rows["instruction_id"], seed, "report")
    rank_N = rows["rank"].cast(pl.Float64).fill_null(float("inf")).to_numpy()
    first_N = np.where(rank_N <= MOST_CHOSEN, -1.0, draw_N)
    kept = np.sort(np.argsort(first_N, kind="stable")[:MOST_ROWS])
    return rows[kept]
