"""The choices of an experiment laid over its pool, for descriptions and overlaps.

Array names carry their shape: N rows of the data set, in id order.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.experiment.cells import Cell
from crowdselect_core.experiment.choices import Choice, KeptAnswers, Pool, Ranked
from crowdselect_core.experiment.descriptions import Cost, Described, describe
from crowdselect_core.experiment.made import Made
from crowdselect_core.experiment.ngrams import ngrams
from crowdselect_core.models.token_count import estimate
from crowdselect_core.stages.refs import RankedArtifacts, Ref
from crowdselect_core.stages.select.metrics import shown_scores, stored_moments
from crowdselect_core.store.artifacts import Store

Floats = NDArray[np.float64]


@dataclass
class Pools:
    """Lays choices over the rows of the data set.

    Args:
        store: where the artifacts are.
        ids: of all rows, ascending.
    """

    store: Store
    ids: pl.Series
    _eligible: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    _clusters: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    _scores: Floats = field(init=False)

    def __post_init__(self) -> None:
        # Overlaps ask a choice's scores for their number alone.
        self._scores = np.zeros(len(self.ids))

    def choice(self, cell: Cell, made: Made) -> Choice:
        """Return what a cell chose in a replicate, as positions in the pool."""
        rows, selection = chosen(made)
        frame = selection.open(self.store).frame(["instruction_id"])
        places = self.places(frame["instruction_id"]).astype(np.int32)
        ranked = Ranked(
            self._scores,
            self._eligible_of(rows.ranking),
            self._clusters_of(rows.clusters) if rows.clusters else None,
        )
        return Choice(
            cell.name,
            made.replicate,
            float(cell.facts["budget"] or 0.0),
            places,
            ranked,
            rule(cell),
        )

    def described(self, cells: Sequence[tuple[Cell, Made]], choices: Sequence[Choice]) -> Described:
        """Describe the choices of one replicate: its texts, vectors and kept answers are read."""
        laid = _Laid(self, cells)
        costs = {made.cell: Cost(None, made.seconds) for _, made in cells}
        return describe(laid.pool(), choices, costs)

    def places(self, ids: pl.Series) -> NDArray[np.int64]:
        found: NDArray[np.int64] = self.ids.search_sorted(ids).to_numpy().astype(np.int64)
        return found

    def _eligible_of(self, ranking: Ref) -> NDArray[np.bool_]:
        if ranking.key not in self._eligible:
            frame = ranking.open(self.store).frame(["instruction_id", "eligible"])
            eligible_N = np.zeros(len(self.ids), dtype=np.bool_)
            eligible_N[self.places(frame.filter("eligible")["instruction_id"])] = True
            self._eligible[ranking.key] = self._same(eligible_N)
        return self._eligible[ranking.key]

    def _same(self, eligible_N: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return an equal array that is known already: chance is then counted once for both."""
        for known_N in self._eligible.values():
            if np.array_equal(known_N, eligible_N):
                return known_N
        return eligible_N

    def _clusters_of(self, clusters: Ref) -> NDArray[np.int64]:
        if clusters.key not in self._clusters:
            frame = clusters.open(self.store).frame(["instruction_id", "cluster_id"])
            cluster_N = np.full(len(self.ids), -1, dtype=np.int64)
            cluster_N[self.places(frame["instruction_id"])] = frame["cluster_id"].to_numpy()
            self._clusters[clusters.key] = cluster_N
        return self._clusters[clusters.key]


def chosen(made: Made) -> tuple[RankedArtifacts, Ref]:
    """Return the artifacts of a cell that chooses."""
    if made.rows is None or made.selection is None:
        raise TypeError(f"{made.cell}: nothing was chosen")
    return made.rows, made.selection


def rule(cell: Cell) -> str:
    """Name whose answers a cell keeps: rule, crowd and reward models."""
    facts = cell.facts
    return f"{facts['response']} {facts['crowd']} {facts['reward_models']}"


class _Laid:
    """Texts, vectors and kept answers of what was chosen in one replicate, over the pool."""

    def __init__(self, pools: Pools, cells: Sequence[tuple[Cell, Made]]) -> None:
        self._pools, self._cells, n = pools, cells, len(pools.ids)
        self._texts: list[str | None] = [None] * n
        self._tokens_N = np.zeros(n, dtype=np.int64)
        self._kept: dict[str, KeptAnswers] = {}
        self._scores: dict[str, Floats] = {}
        self._vectors: NDArray[np.float32] | None = None

    def pool(self) -> Pool:
        """Read what the chosen rows are, and lay it out."""
        for cell, made in self._cells:
            self._read(cell, made)
        words = ngrams(self._texts) if any(t is not None for t in self._texts) else None
        return Pool(self._pools.ids, self._tokens_N, self._kept, self._vectors, words)

    def _read(self, cell: Cell, made: Made) -> None:
        rows, selection = chosen(made)
        store = self._pools.store
        frame = selection.open(store).frame(
            ["instruction_id", "response_model", "response", "messages"]
        )
        places = self._pools.places(frame["instruction_id"])
        prompts = [_prompt(m) for m in frame["messages"].to_list()]
        for place, text in zip(places.tolist(), prompts, strict=True):
            self._texts[place] = text
        self._tokens_N[places] = estimate([t or "" for t in prompts])
        if frame["response"].null_count() < frame.height:
            self._keep(cell, rows, frame, places)
        if self._vectors is None and rows.embeddings is not None:
            self._vectors = self._read_vectors(rows.embeddings)

    def _keep(self, cell: Cell, rows: RankedArtifacts, frame: pl.DataFrame, places: Any) -> None:
        models, n = [m.name for m in cell.config.models], len(self._pools.ids)
        kept = self._kept.get(rule(cell))
        if kept is None:
            none_N = np.full(n, -1, dtype=np.int16)
            kept = KeptAnswers(models, none_N, np.full(n, np.nan), np.zeros(n, np.int64))
            self._kept[rule(cell)] = kept
        numbers = {name: place for place, name in enumerate(models)}
        model_B = np.array([numbers.get(m, -1) for m in frame["response_model"].to_list()])
        kept.model_N[places] = model_B
        kept.tokens_N[places] = estimate([t or "" for t in frame["response"].to_list()])
        kept.reward_N[places] = self._scores_of(cell, rows)[places, model_B]

    def _scores_of(self, cell: Cell, rows: RankedArtifacts) -> Floats:
        """Return the combined score of every answer of the crowd, NaN where there is none."""
        key, store = f"{rows.scores.key} {rows.metrics.key}", self._pools.store
        if key not in self._scores:
            fitted = stored_moments(rows.metrics.open(store))
            c_NM = np.full((len(self._pools.ids), len(cell.config.models)), np.nan)
            for frame in rows.scores.open(store).frames():
                own = shown_scores(frame, cell.config, fitted)
                c_NM[self._pools.places(frame["instruction_id"])] = own
            self._scores[key] = c_NM
        return self._scores[key]

    def _read_vectors(self, embeddings: Ref) -> NDArray[np.float32]:
        vectors: NDArray[np.float32] | None = None
        for frame in _frames(embeddings, self._pools.store):
            own = frame["vector"].to_numpy()
            if vectors is None:
                vectors = np.zeros((len(self._pools.ids), own.shape[1]), dtype=np.float32)
            vectors[self._pools.places(frame["instruction_id"])] = own
        return vectors if vectors is not None else np.zeros((0, 0), dtype=np.float32)


def _frames(ref: Ref, store: Store) -> Iterator[pl.DataFrame]:
    yield from ref.open(store).frames(["instruction_id", "vector"])


def _prompt(messages: Iterable[Any] | None) -> str | None:
    """Return the words of a prompt: all turns before the kept answer."""
    turns = list(messages or ())
    if not turns:
        return None
    return "\n".join(str(turn["content"]) for turn in turns[:-1])
