"""The rows of a selection's data set with their places, read when they are asked for.

Array names carry their shape: N rows, K of them.
"""

from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.selection.candidates import Candidates
from crowdselect_core.selection.explanations import told, with_places
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
        asked: ids of rows that are asked for; without them, the chosen ones.
    """

    def __init__(
        self,
        config: SelectConfig,
        store: Store,
        inputs: SelectionArtifacts,
        asked: pl.Series | None = None,
    ) -> None:
        self._config = config
        self._ranking = inputs.ranking.open(store)
        clusters = inputs.clusters.open(store) if inputs.clusters else None
        self._rows = CandidateRows(self._ranking, clusters)
        self._selection = inputs.selection.open(store).frame(["instruction_id", "rank"])
        self._asked = self._selection["instruction_id"] if asked is None else asked

    @cached_property
    def candidates(self) -> Candidates:
        """All rows, as they were chosen from."""
        return self._rows.candidates()

    @cached_property
    def where(self) -> Placement:
        """Where all rows stand."""
        chosen = self._numbers.join(self._selection, on="instruction_id")
        return placed(self.candidates, chosen["row"].to_numpy(), chosen["rank"].to_numpy())

    def asked(self) -> pl.DataFrame:
        """Return the rows that were asked for, each with its reason; see `explanations.told`."""
        return self.at(self._asked_rows)

    def asked_places(self) -> pl.DataFrame:
        """Return the same rows with their places alone; `reason` is that of the ranking."""
        rows_K = self._asked_rows
        return with_places(self._rows.rows(rows_K), rows_K, self.where)

    @property
    def _asked_rows(self) -> Ints:
        numbers = self._numbers.join(self._asked.to_frame("instruction_id"), on="instruction_id")
        return numbers["row"].to_numpy()

    @cached_property
    def _numbers(self) -> pl.DataFrame:
        """The numbers of the chosen rows and of those that were asked for."""
        wanted = pl.concat([self._selection["instruction_id"], self._asked.rename("")])
        members, found = Members(wanted.unique()), []
        for start, frame in numbered_frames(self._ranking, ["instruction_id"]):
            (places,) = np.nonzero(members.among(frame["instruction_id"]))
            found.append(frame[places].with_columns(row=pl.Series(places + start)))
        return pl.concat(found)

    def at(self, rows_K: Ints) -> pl.DataFrame:
        """Return rows by their numbers, each with its reason."""
        return self._told(self._rows.rows(rows_K), rows_K, every=True)

    def _told(self, table: pl.DataFrame, rows_K: Ints, *, every: bool = False) -> pl.DataFrame:
        chosen = self._selection.height
        return told(table, rows_K, self.where, self._config, chosen, every=every)
