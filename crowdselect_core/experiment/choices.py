"""Choices of an experiment as positions in one pool, so that thousands of them fit in memory.

Array names carry their shape: N rows of the pool, B chosen rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.errors import DatasetError
from crowdselect_core.experiment.ngrams import Ngrams
from crowdselect_core.selection.candidates import Candidates
from crowdselect_core.selection.eligibility import check_ids
from crowdselect_core.selection.ranked_pool import Places

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class KeptAnswers:
    """The answer that one response rule keeps with every row of the pool.

    Attributes:
        models: the crowd's names; model_N: which of them, -1 where no answer is kept.
        reward_N: the combined score of the kept answer, higher is better, NaN without one.
        tokens_N: of the kept answer, 0 without one.
    """

    models: Sequence[str]
    model_N: NDArray[np.int16]
    reward_N: Floats
    tokens_N: NDArray[np.int64]


@dataclass(frozen=True)
class Pool:
    """The rows that all choices of an experiment come from, in id order.

    Attributes:
        ids: instruction ids, ascending, unique.
        tokens_N: of the instruction.
        kept: per response rule what it keeps; empty where the data set has no answers.
        vectors_NW: float32 embeddings; None without.
        ngrams: of the instructions' texts; None without.
    """

    ids: pl.Series
    tokens_N: NDArray[np.int64]
    kept: Mapping[str, KeptAnswers]
    vectors_NW: NDArray[np.float32] | None = None
    ngrams: Ngrams | None = None

    def __post_init__(self) -> None:
        check_ids(self.ids, "pool")
        if not self.ids.is_sorted():
            raise DatasetError("pool: the ids are not in ascending order: sort the rows by id")


@dataclass(frozen=True)
class Choice:
    """What one cell chose in one replicate.

    Attributes:
        cell: its name; replicate; budget: as the config gives it.
        rows_B: positions, best first.
        ranked: what it was chosen from.
        response: the response rule, a key of the pool's `kept`; None without answers.
    """

    cell: str
    replicate: int
    budget: float
    rows_B: Places
    ranked: Candidates
    response: str | None = None
