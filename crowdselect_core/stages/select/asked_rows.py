"""Some rows of a selection's data set with their places, read in one pass over the ranking."""

import numpy as np
import polars as pl

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.selection.asked_places import placed_alone
from crowdselect_core.selection.candidates import Candidates
from crowdselect_core.selection.explanations import told, with_places
from crowdselect_core.selection.placement import Placement
from crowdselect_core.stages.refs import SelectionArtifacts
from crowdselect_core.stages.row_columns import Members, floats, numbered_frames
from crowdselect_core.stages.select.candidate_rows import CandidateRows, ids_of
from crowdselect_core.store.artifacts import Store

PLACED = ["instruction_id", "score", "eligible"]


class AskedRows:
    """Rows that are asked for by their ids: where they stand, and why they were chosen or not.

    Memory: some 25 bytes a row of the data set for the columns that decide on places, and a shard.

    Args:
        config: the resolved config.
        store: where the artifacts are.
        inputs: the artifacts of the run.
        asked: ids; those that the data set does not have are left out.
    """

    def __init__(
        self, config: SelectConfig, store: Store, inputs: SelectionArtifacts, asked: pl.Series
    ) -> None:
        self._config, self._asked = config, asked.to_frame("instruction_id")
        self._ranking = inputs.ranking.open(store)
        clusters = inputs.clusters.open(store) if inputs.clusters else None
        self._rows = CandidateRows(self._ranking, clusters)
        self._selection = inputs.selection.open(store).frame(["instruction_id", "rank"])

    def placed(self) -> pl.DataFrame:
        """Return PLACED, cluster_id and the columns of `explanations.with_places`."""
        table, where = self._placed(PLACED)
        return with_places(table, np.arange(table.height), where)

    def told(self) -> pl.DataFrame:
        """Return the whole rows, each with its reason; see `explanations.told`."""
        table, where = self._placed(None)
        rows_K = np.arange(table.height)
        return told(table, rows_K, where, self._config, self._selection.height, every=True)

    def _placed(self, columns: list[str] | None) -> tuple[pl.DataFrame, Placement]:
        """Return the asked rows, clusters filled, and where they stand."""
        rows = self._ranking.rows
        score_N, eligible_N = np.empty(rows), np.empty(rows, dtype=bool)
        wanted, found = self._asked["instruction_id"], list[pl.DataFrame]()
        members = Members(pl.concat([self._selection["instruction_id"], wanted]).unique())
        for start, frame in numbered_frames(self._ranking, columns):
            here = slice(start, start + frame.height)
            score_N[here] = floats(frame["score"])
            eligible_N[here] = frame["eligible"].fill_null(False).to_numpy()
            (places,) = np.nonzero(members.among(frame["instruction_id"]))
            found.append(frame[places].with_columns(_row=pl.Series(places + start)))
        near = pl.concat(found)
        chosen = near.select("_row", "instruction_id").join(self._selection, on="instruction_id")
        table = near.join(self._asked, on="instruction_id", how="semi", maintain_order="left")
        rows_K = table["_row"].to_numpy()
        candidates = Candidates(score_N, eligible_N, self._rows.cluster_N, ids_of(self._ranking))
        where = placed_alone(
            candidates, chosen["_row"].to_numpy(), chosen["rank"].to_numpy(), rows_K
        )
        return self._rows.with_clusters(table.drop("_row"), rows_K), where
