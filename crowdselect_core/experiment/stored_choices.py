"""What cells chose, read from the store: as a selection, or among the choices of a batch.

Array names carry their shape: N rows of the data set, in id order; R rows of a ranking; B rows of
one choice, best first; M crowd models.
"""

from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.experiment.cells import Cell
from crowdselect_core.experiment.made import Made
from crowdselect_core.models.token_count import estimate
from crowdselect_core.stages.refs import RankedArtifacts, Ref
from crowdselect_core.stages.select.metrics import shown_scores, stored_moments
from crowdselect_core.store.artifacts import Store

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

COLUMNS = ["response_model", "reward", "answer_tokens"]


@dataclass(frozen=True)
class StoredChoice:
    """What one cell chose in one replicate.

    Args:
        rows_B: positions in the data set, best first.
        model_B: whose answer is kept, a place in the crowd; -1 where none is.
        reward_B: its combined score, NaN where there is none.
        tokens_B: of it, estimated; None where the data set has no answers.
    """

    rows_B: NDArray[np.int32]
    model_B: NDArray[np.int16]
    reward_B: Floats
    tokens_B: Ints | None


@dataclass
class StoredChoices:
    """Reads choices; of a batch those of one replicate at a time.

    Args:
        store: where the artifacts are.
        ids: of all rows of the data set, ascending.
    """

    store: Store
    ids: pl.Series
    _batch: str = ""  # the key of what is held of the batch that was read last
    _choices: dict[str, pl.DataFrame] = field(default_factory=dict)
    _eligible: dict[str, NDArray[np.bool_]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._placed = self.ids.to_frame("instruction_id").with_row_index("place")

    def places(self, ids: pl.Series) -> Ints:
        """Return where rows stand."""
        asked = ids.to_frame("instruction_id")
        found = asked.join(self._placed, on="instruction_id", how="left", maintain_order="left")
        return found["place"].to_numpy().astype(np.int64)

    def of(self, cell: Cell, made: Made) -> StoredChoice:
        """Return what a cell chose in a replicate."""
        rows, selection = chosen(made)
        if made.choices is not None:
            self._read(made.choices, rows)
            return self._laid(cell, self._choices[selection.key])
        frame = selection.open(self.store).frame(["instruction_id", "response_model", "response"])
        tokens = pl.Series("answer_tokens", [None] * frame.height, dtype=pl.Int64)
        places = pl.Series("place", self.places(frame["instruction_id"]))
        if frame["response"].null_count() < frame.height:
            texts = [text or "" for text in frame["response"].to_list()]
            tokens = pl.Series("answer_tokens", estimate(texts))
        reward_B = self._rewards(cell, rows, frame)
        return self._laid(cell, frame.with_columns(places, tokens, reward=pl.Series(reward_B)))

    def eligible(self, made: Made) -> NDArray[np.bool_]:
        """Return which rows a cell could have chosen."""
        rows, _ = chosen(made)
        if made.choices is not None:
            self._read(made.choices, rows)
            return self._eligible[rows.ranking.key]
        if rows.ranking.key not in self._eligible:
            frame = rows.ranking.open(self.store).frame(["instruction_id", "eligible"])
            self._eligible[rows.ranking.key] = self._marked(
                self.places(frame.filter("eligible")["instruction_id"])
            )
        return self._eligible[rows.ranking.key]

    def _read(self, choices: Ref, rows: RankedArtifacts) -> None:
        """Read the batch of a replicate: its choices, and the rows that each ranking is of."""
        if choices.key == self._batch:
            return
        frame = choices.open(self.store).frame()
        places = pl.Series("place", self.places(frame["instruction_id"]))
        known = frame.select("selection", places, *COLUMNS).partition_by("selection", as_dict=True)
        self._choices = {str(key): own for (key,), own in known.items()}
        of_rankings = frame.select("ranking", "eligible").drop_nulls().rows()
        if new := {key: bits for key, bits in of_rankings if key not in self._eligible}:
            ids = rows.metrics.open(self.store).frame(["instruction_id"])["instruction_id"]
            place_R = self.places(ids)
            for key, bits in new.items():
                marks_R = np.unpackbits(np.frombuffer(bits, dtype=np.uint8), count=len(ids))
                self._eligible[key] = self._marked(place_R[marks_R.astype(np.bool_)])
        self._batch = choices.key

    def _marked(self, places: Ints) -> NDArray[np.bool_]:
        marked_N = np.zeros(len(self.ids), dtype=np.bool_)
        marked_N[places] = True
        return marked_N

    def _laid(self, cell: Cell, frame: pl.DataFrame) -> StoredChoice:
        numbers = {model.name: place for place, model in enumerate(cell.config.models)}
        models = frame["response_model"]
        found = models.replace_strict(numbers, default=-1, return_dtype=pl.Int16)
        tokens = frame["answer_tokens"]
        return StoredChoice(
            frame["place"].to_numpy().astype(np.int32),
            found.fill_null(-1).to_numpy(),
            frame["reward"].fill_null(float("nan")).to_numpy(),
            None if tokens.null_count() == len(tokens) else tokens.fill_null(0).to_numpy(),
        )

    def _rewards(self, cell: Cell, rows: RankedArtifacts, frame: pl.DataFrame) -> Floats:
        """Return the combined score of the kept answers of a selection."""
        fitted = stored_moments(rows.metrics.open(self.store))
        wanted = frame.select("instruction_id")
        found = [
            shard.join(wanted, on="instruction_id", how="semi")
            for shard in rows.scores.open(self.store).frames()
        ]
        scores = wanted.join(
            pl.concat(found), on="instruction_id", how="left", maintain_order="left"
        )
        shown_BM = shown_scores(scores, cell.config, fitted)
        numbers = {model.name: place for place, model in enumerate(cell.config.models)}
        models = [numbers.get(name, -1) for name in frame["response_model"].to_list()]
        reward_B: Floats = shown_BM[np.arange(frame.height), models]
        return reward_B


def chosen(made: Made) -> tuple[RankedArtifacts, Ref]:
    """Return the artifacts of a cell that chooses."""
    if made.rows is None or made.selection is None:
        raise TypeError(f"{made.cell}: nothing was chosen")
    return made.rows, made.selection
