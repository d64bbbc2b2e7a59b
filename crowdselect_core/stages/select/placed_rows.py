"""The rows of a selection's data set with their places, read when they are asked for.

Array names carry their shape: N rows, K of them.
"""

from dataclasses import replace
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.selection.candidates import Candidates
from crowdselect_core.selection.explanations import told
from crowdselect_core.selection.placement import Placement, placed
from crowdselect_core.stages.refs import SelectionArtifacts
from crowdselect_core.stages.select.candidate_rows import CandidateRows, ids_of
from crowdselect_core.store.artifacts import Store

Ints = NDArray[np.int64]


class PlacedRows:
    """Where every row of a selection's data set stands, and why it was chosen or not.

    Memory: some 60 bytes a row for the columns that decide on places, and a few shards; until they
    are placed also the ids of all rows, and some 80 bytes a row while they are sorted.

    Args:
        config: the resolved config.
        store: where the artifacts are.
        inputs: the artifacts of the run.
    """

    def __init__(self, config: SelectConfig, store: Store, inputs: SelectionArtifacts) -> None:
        self._config = config
        self._ranking = inputs.ranking.open(store)
        clusters = inputs.clusters.open(store) if inputs.clusters else None
        self._rows = CandidateRows(self._ranking, clusters)
        self._selection = inputs.selection.open(store).frame(["instruction_id", "rank"])

    @property
    def candidates(self) -> Candidates:
        """All rows, as they were chosen from."""
        return self._placed[0]

    @property
    def where(self) -> Placement:
        """Where all rows stand."""
        return self._placed[1]

    @cached_property
    def _placed(self) -> tuple[Candidates, Placement]:
        """All rows, and where they stand.

        The ids are read once with what rows are placed by, and let go.
        """
        candidates, ids = self._rows.candidates_with_ids()
        rows_K = ids.is_in(self._selection["instruction_id"].implode()).arg_true().cast(pl.Int64)
        numbers = pl.DataFrame({"instruction_id": ids[rows_K], "row": rows_K})
        chosen = numbers.join(self._selection, on="instruction_id")
        where = placed(candidates, chosen["row"].to_numpy(), chosen["rank"].to_numpy())
        return replace(candidates, ids_of=ids_of(self._ranking)), where

    def at(self, rows_K: Ints) -> pl.DataFrame:
        """Return rows by their numbers, each with its reason."""
        return self._told(self._rows.rows(rows_K), rows_K, every=True)

    def _told(self, table: pl.DataFrame, rows_K: Ints, *, every: bool = False) -> pl.DataFrame:
        chosen = self._selection.height
        return told(table, rows_K, self.where, self._config, chosen, every=every)
