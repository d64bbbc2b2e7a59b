"""From the vectors of rows and targets to their cosines; needs no torch.

Array names carry their shape: N rows, T targets, D components.
"""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.errors import ConfigError

Floats = NDArray[np.floating[Any]]

CELL = {"vector": pl.List(pl.Float32)}
SIMILARITIES = "similarities"
NARROW = ("instruction_id", "target_similarity", "lacks")  # what is stored beside these
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
    similar_KT: Floats = np.zeros((0, targets.height), dtype=np.float32)  # rows with a vector
    if known.any():
        row_KD, target_TD = as_matrix(cells["vector"].filter(known)), as_matrix(targets["vector"])
        similar_KT = np.round(row_KD @ target_TD.T, ROUNDED)
    lists = pl.Series(similar_KT).cast(pl.List(pl.Float32))
    place = pl.select(pl.when(known).then(known.cum_sum().cast(pl.Int64) - 1)).to_series()
    frame = pl.DataFrame({SIMILARITIES: lists.gather(place)}).with_columns(
        target_similarity=pl.col(SIMILARITIES).list.max().cast(pl.Float64)
    )
    lacks = cells["error"].str.split(":").list.first()
    return frame.select("target_similarity", SIMILARITIES).with_columns(lacks=lacks)


def as_matrix(lists: pl.Series) -> Floats:
    """Return a column of lists, all of one length and none null, as the rows of an array."""
    return lists.explode(empty_as_null=False).to_numpy().reshape(len(lists), -1)
