"""The rows of a selection's data set with their places, read when they are asked for.

Array names carry their shape: N rows, K of them.
"""

from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.selection.candidates import Candidates
from crowdselect_core.selection.explanations import told
from crowdselect_core.selection.placement import Placement, placed
from crowdselect_core.stages.refs import SelectionArtifacts
from crowdselect_core.stages.row_columns import Members, numbered_frames
from crowdselect_core.stages.select.candidate_rows import CandidateRows
from crowdselect_core.store.artifacts import Store

Ints = NDArray[np.int64]


class PlacedRows:
    """Where every row of a selection's data set stands, and why it was chosen or not.

    Memory: some 60 bytes a row for the columns that decide on places, and a few shards.

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

    @cached_property
    def candidates(self) -> Candidates:
        """All rows, as they were chosen from."""
        return self._rows.candidates()

    @cached_property
    def where(self) -> Placement:
        """Where all rows stand."""
        chosen = self._numbers.join(self._selection, on="instruction_id")
        return placed(self.candidates, chosen["row"].to_numpy(), chosen["rank"].to_numpy())

    @cached_property
    def _numbers(self) -> pl.DataFrame:
        """The numbers of the chosen rows."""
        members, found = Members(self._selection["instruction_id"]), []
        for start, frame in numbered_frames(self._ranking, ["instruction_id"]):
            (places,) = np.nonzero(members.among(frame["instruction_id"]))
            found.append(frame[places].with_columns(row=pl.Series(places + start)))
        return pl.concat(found)

    def _at(self, rows_K: Ints) -> pl.DataFrame:
        return self._told(self._rows.rows(rows_K), rows_K, every=True)

    def _told(self, table: pl.DataFrame, rows_K: Ints, *, every: bool = False) -> pl.DataFrame:
        chosen = self._selection.height
        return told(table, rows_K, self.where, self._config, chosen, every=every)
