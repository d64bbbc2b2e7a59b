"""The choices of an experiment laid over its rows, for descriptions and overlaps.

Array names carry their shape: N rows of the data set, in id order; U rows that any cell chose, in
id order; B rows of one choice, best first.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.experiment.cells import Cell
from crowdselect_core.experiment.choices import Choice, KeptAnswers, Pool
from crowdselect_core.experiment.descriptions import Cost, Described, describe
from crowdselect_core.experiment.made import Made
from crowdselect_core.experiment.ngrams import Ngrams, ngrams
from crowdselect_core.experiment.stored_choices import StoredChoices, chosen
from crowdselect_core.models.token_count import estimate
from crowdselect_core.selection.candidates import NO_CLUSTER, Candidates
from crowdselect_core.stages.crowd.prompts import prompts_of
from crowdselect_core.stages.methods.answers_needed import needed
from crowdselect_core.stages.partitions import open_dataset
from crowdselect_core.stages.refs import Ref
from crowdselect_core.store.artifacts import Store

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass
class Pools:
    """Lays choices over the rows of the data set: first all of them, then each is described.

    Args:
        store: where the artifacts are.
        rows: instruction_id and source_row of all rows.
    """

    store: Store
    rows: pl.DataFrame
    _clusters: dict[str, Ints] = field(default_factory=dict)
    _eligible: list[NDArray[np.bool_]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rows = self.rows.select("instruction_id", "source_row").sort("instruction_id")
        self.ids = self.rows["instruction_id"]
        self._stored = StoredChoices(self.store, self.ids)
        # Overlaps ask a choice's scores for their number alone.
        self._scores_N = np.zeros(len(self.ids))
        self._chosen_N = np.zeros(len(self.ids), dtype=np.bool_)
        self._told: _Told | None = None

    def choice(self, cell: Cell, made: Made) -> Choice:
        """Return what a cell chose in a replicate, as positions in the pool."""
        rows, _ = chosen(made)
        rows_B = self._stored.of(cell, made).rows_B
        self._chosen_N[rows_B] = True
        ranked = Candidates(
            self._scores_N,
            self._same(self._stored.eligible(made)),
            self._clusters_of(rows.clusters) if rows.clusters else None,
        )
        budget = float(cell.facts["budget"] or 0.0)
        return Choice(cell.name, made.replicate, budget, rows_B, ranked, rule(cell))

    def described(
        self, config: SelectConfig, cells: Sequence[tuple[Cell, Made]], choices: Sequence[Choice]
    ) -> Described:
        """Describe the choices of one replicate, when those of all replicates are laid out.

        Args:
            config: of the whole experiment; the texts of its data set are read once.
            cells: of one replicate.
            choices: theirs, as `choice` returned them.
        """
        if self._told is None:
            self._told = _read(config, self.rows.filter(pl.Series(self._chosen_N)))
        (rows_U,) = np.nonzero(self._chosen_N)
        place_N = np.cumsum(self._chosen_N, dtype=np.int32) - 1
        pool = Pool(
            self._told.ids,
            self._told.tokens_U,
            self._kept(cells, place_N, len(rows_U)),
            self._vectors(cells, place_N, len(rows_U)),
            self._told.ngrams,
        )
        costs = {
            cell.name: _cost(cell, made, choice)
            for (cell, made), choice in zip(cells, choices, strict=True)
        }
        clusters = (choice.ranked.cluster_N for choice in choices)
        cluster_N = next((found for found in clusters if found is not None), None)
        narrow = (_narrowed(choice, rows_U, place_N, cluster_N) for choice in choices)
        return describe(pool, narrow, costs)

    def _kept(
        self, cells: Sequence[tuple[Cell, Made]], place_N: NDArray[np.int32], rows: int
    ) -> dict[str, KeptAnswers]:
        """Return the kept answers of the chosen rows, by response rule."""
        found: dict[str, KeptAnswers] = {}
        for cell, made in cells:
            own = self._stored.of(cell, made)
            if own.tokens_B is None:
                continue
            kept = found.get(rule(cell))
            if kept is None:
                none_U = np.full(rows, -1, dtype=np.int16)
                nothing = (none_U, np.full(rows, np.nan), np.zeros(rows, dtype=np.int64))
                kept = KeptAnswers([m.name for m in cell.config.models], *nothing)
                found[rule(cell)] = kept
            places = place_N[own.rows_B]
            kept.model_N[places] = own.model_B
            kept.reward_N[places] = own.reward_B
            kept.tokens_N[places] = own.tokens_B
        return found

    def _vectors(
        self, cells: Sequence[tuple[Cell, Made]], place_N: NDArray[np.int32], rows: int
    ) -> NDArray[np.float32] | None:
        """Read the vectors of the chosen rows, where a cell of the replicate has some."""
        refs = [made.rows.embeddings for _, made in cells if made.rows is not None]
        embeddings = next((ref for ref in refs if ref is not None), None)
        if embeddings is None:
            return None
        vectors: NDArray[np.float32] | None = None
        for frame in embeddings.open(self.store).frames(["instruction_id", "vector"]):
            own, places = frame["vector"].to_numpy(), self._stored.places(frame["instruction_id"])
            if vectors is None:
                vectors = np.zeros((rows, own.shape[1]), dtype=np.float32)
            wanted = self._chosen_N[places]
            vectors[place_N[places[wanted]]] = own[wanted]
        return vectors

    def _same(self, eligible_N: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return an equal array that is known already: chance is then counted once for both."""
        for known_N in self._eligible:
            if known_N is eligible_N or np.array_equal(known_N, eligible_N):
                return known_N
        self._eligible.append(eligible_N)
        return eligible_N

    def _clusters_of(self, clusters: Ref) -> Ints:
        if clusters.key not in self._clusters:
            frame = clusters.open(self.store).frame(["instruction_id", "cluster_id"])
            cluster_N = np.full(len(self.ids), NO_CLUSTER, dtype=np.int64)
            cluster_N[self._stored.places(frame["instruction_id"])] = frame["cluster_id"].to_numpy()
            self._clusters[clusters.key] = cluster_N
        return self._clusters[clusters.key]


def rule(cell: Cell) -> str:
    """Name whose answers a cell keeps: rule, crowd and reward models."""
    facts = cell.facts
    return f"{facts['response']} {facts['crowd']} {facts['reward_models']}"


@dataclass(frozen=True)
class _Told:
    """What the texts of the rows that are chosen in any replicate tell."""

    ids: pl.Series
    tokens_U: Ints
    ngrams: Ngrams | None


def _read(config: SelectConfig, rows: pl.DataFrame) -> _Told:
    """Read the prompts of some rows, which are in id order."""
    dataset = open_dataset(config)
    ids, tokens_U = rows["instruction_id"], np.zeros(rows.height, dtype=np.int64)
    if dataset.layout.prompt is None:
        return _Told(ids, tokens_U, None)
    texts: list[str | None] = [None] * rows.height
    order = rows["source_row"].arg_sort()
    places = order.to_list()
    for place, prompt in prompts_of(dataset, rows[order]):
        if prompt.error is None:
            texts[places[place]] = "\n".join(str(m["content"]) for m in prompt.messages)
    tokens_U[:] = estimate([text or "" for text in texts])
    return _Told(ids, tokens_U, ngrams(texts))


def _cost(cell: Cell, made: Made, choice: Choice) -> Cost:
    if made.rows is None:
        return Cost(seconds=made.seconds)
    found = needed(cell.config, made.rows.scores.rows, len(choice.rows_B))
    return Cost(found.answers, found.scores, made.seconds)


def _narrowed(
    choice: Choice, rows_U: Ints, place_N: NDArray[np.int32], other_N: Ints | None
) -> Choice:
    """Return a choice among the rows that any cell chose, for a description alone.

    A cell without clusters is described by `other_N`, those of another cell: how far a choice that
    ignores clusters spreads over them is what one that fills them is compared with.
    """
    cluster_N = other_N if choice.ranked.cluster_N is None else choice.ranked.cluster_N
    ranked = Candidates(
        choice.ranked.score_N[rows_U],
        choice.ranked.eligible_N[rows_U],
        None if cluster_N is None else cluster_N[rows_U],
    )
    return replace(choice, rows_B=place_N[choice.rows_B], ranked=ranked)
