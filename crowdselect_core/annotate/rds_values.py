"""From the vectors of rows and targets to their cosines; needs no torch.

Array names carry their shape: N rows, T targets, D components.
"""

import numpy as np
import polars as pl

from crowdselect_core.errors import ConfigError

CELL = {"vector": pl.List(pl.Float32)}
SIMILARITIES = "similarities"
ROUNDED = 5  # decimals: how rows are batched moves a cosine by about 1e-6 in float32


def rds_values(cells: pl.DataFrame, targets: pl.DataFrame) -> pl.DataFrame:
    """Return every row's cosines to the targets.

    Input columns: vector (of length 1; null where there is none), error; of the targets the same.
    Output columns: target_similarity (-1..1, to the most similar target), similarities (one a
    target), lacks (a reason).

    Raises:
        ConfigError: a target has no vector.
    """
    if targets["vector"].null_count():
        why = targets["error"].drop_nulls().to_list()
        raise ConfigError(
            f"rds.targets: {targets['vector'].null_count()} examples cannot be read by the model "
            f"({why[0] if why else 'no vector'}): correct or remove them"
        )
    known = cells["vector"].is_not_null()
    target_TD = np.array(targets["vector"].to_list(), dtype=np.float32)
    row_ND = np.array(cells["vector"].drop_nulls().to_list(), dtype=np.float32)
    rows = iter(np.round(row_ND @ target_TD.T, ROUNDED).tolist() if len(row_ND) else [])
    similar = [next(rows) if there else None for there in known.to_list()]
    frame = pl.DataFrame(
        {SIMILARITIES: pl.Series(similar, dtype=pl.List(pl.Float32))}
    ).with_columns(target_similarity=pl.col(SIMILARITIES).list.max().cast(pl.Float64))
    lacks = cells["error"].str.split(":").list.first()
    return frame.select("target_similarity", SIMILARITIES).with_columns(lacks=lacks)
