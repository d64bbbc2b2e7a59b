"""Stage `choices`: what many selections of the same rows choose, in one artifact.

An experiment that compares choices alone needs of a selection which rows it has, whose answers are
kept, and who could have been chosen; it needs neither the ranking nor the texts. A part is all
choices from one ranking, which is computed once and not stored.

Array names carry their shape: N ranked rows, B chosen ones, U rows that any of some choices has,
M crowd models.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TypeVar

import numpy as np
import polars as pl

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.selection.quota import select_by_tokens
from crowdselect_core.selection.ranked_pool import choose_rows, placed
from crowdselect_core.selection.response_choice import Ints, keep, preference
from crowdselect_core.stages.base import Stage
from crowdselect_core.stages.refs import Ref
from crowdselect_core.stages.select import ranking as ranking_stage
from crowdselect_core.stages.select import selection as selection_stage
from crowdselect_core.stages.select.answer_tokens import complete_tokens
from crowdselect_core.stages.select.answers import mode_of
from crowdselect_core.stages.select.kept_answers import AnswerReader
from crowdselect_core.stages.select.method_inputs import Given
from crowdselect_core.stages.select.metrics import shown_scores, stored_moments
from crowdselect_core.stages.select.row_lookup import RowLookup
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import Plan, ShardResult
from crowdselect_core.tables import CHOICES as TABLE
from crowdselect_core.tables import check
from crowdselect_core.util.once import Once

STAGE, VERSION = "choices", 1

R = TypeVar("R")


@dataclass(frozen=True)
class ChoiceInputs:
    """What one selection is made from; the config and artifacts that its own stages would take."""

    config: SelectConfig
    scores: Ref
    metrics: Ref
    answers: Ref
    values: Ref | None = None
    vectors: Ref | None = None
    clusters: Ref | None = None

    @property
    def ranking(self) -> str:
        """The key that its ranking would have in the store."""
        named = (self.metrics, self.answers, None, self.values, self.vectors)
        return ranking_stage.spec(self.config, *named).key

    @property
    def key(self) -> str:
        """The key that its selection would have in the store."""
        ranking = Ref(stage=ranking_stage.STAGE, key=self.ranking, rows=0)
        named = (self.scores, self.metrics, ranking, self.clusters)
        return selection_stage.spec(self.config, *named).key


def spec(config: SelectConfig, choices: Sequence[ChoiceInputs], tokens: Ref | None) -> Spec:
    """Name the artifact: the selections that it has, by the keys that they would have.

    Raises:
        UserError: as the specs of `ranking` and `selection`.
    """
    identity = {"selections": sorted({one.key for one in choices})}
    return Spec(STAGE, VERSION, identity, {"answer-tokens": tokens.key} if tokens else {})


def plan(
    config: SelectConfig, store: Store, choices: Sequence[ChoiceInputs], tokens: Ref | None
) -> Plan:
    """Rank once a part, choose by every budget, and look up whose answers are kept.

    Output columns: CHOICES; the rows of a choice together, best first.

    Args:
        config: of any of them; what differs stands in `choices`.
        store: where the artifacts are.
        choices: what each selection is made from.
        tokens: of the answers of all rows; None where the data set has no answers.

    Raises:
        SelectionError: fewer rows are eligible than a budget asks for.
    """
    parts = _parts(choices)
    reading = _Reading(store, tokens)

    def shard(index: int) -> ShardResult:
        return _Part(store, parts[index], reading).made()

    return Plan(len(parts), shard, cut={"rankings": [list(one) for one in parts]})


CHOICES = Stage(
    "choices", "Choose by many methods and budgets, without the texts of the rows.", spec, plan
)


def _parts(choices: Sequence[ChoiceInputs]) -> list[dict[str, ChoiceInputs]]:
    """Return the choices by their keys, those together that are from one ranking and clusters."""

    def place(one: tuple[str, str, ChoiceInputs]) -> tuple[str, str]:
        clusters = one[2].clusters
        return one[0], clusters.key if clusters else ""

    named = sorted(((c.ranking, c.key, c) for c in choices), key=lambda n: (*place(n), n[1]))
    return [{key: c for _, key, c in own} for _, own in groupby(named, key=place)]


@dataclass
class _Reading:
    """What the parts read of the rows, each artifact opened once."""

    store: Store
    tokens: Ref | None
    _known: dict[str, Once[RowLookup]] = field(default_factory=dict)

    def of(self, ref: Ref, ids: pl.Series) -> pl.DataFrame:
        """Return the rows of an artifact with these ids, in their order."""
        lookup = self._known.setdefault(ref.key, Once(lambda: RowLookup([ref.open(self.store)])))
        found = lookup().of(ids)
        if found is None:
            return ref.open(self.store).shard(0).clear()
        return ids.to_frame("instruction_id").join(
            found, on="instruction_id", how="left", maintain_order="left"
        )


class _Part:
    """All choices from one ranking."""

    def __init__(
        self, store: Store, choices: Mapping[str, ChoiceInputs], reading: _Reading
    ) -> None:
        self._store, self._choices, self._reading = store, choices, reading
        self._any = next(iter(choices.values()))
        self._notes: list[str] = []

    def made(self) -> ShardResult:
        """Return the choices as the rows of a shard."""
        ranking = self._ranking()
        clusters = self._any.clusters
        groups = None
        if clusters is not None:
            groups = clusters.open(self._store).frame(["instruction_id", "cluster_id"])
        chosen = self._chosen(ranking, groups)
        rank = pl.int_range(1, pl.len() + 1, dtype=pl.Int64)
        frame = pl.concat(
            rows.with_columns(selection=pl.lit(key), rank=rank)
            for key, rows in self._kept(chosen).items()
        )
        if groups is not None:
            frame = frame.join(groups, on="instruction_id", how="left", maintain_order="left")
        else:
            frame = frame.with_columns(cluster_id=pl.lit(None, dtype=pl.Int64))
        bits = np.packbits(ranking["eligible"].to_numpy()).tobytes()
        first = pl.int_range(pl.len()) == 0
        frame = frame.with_columns(
            ranking=pl.lit(self._any.ranking),
            eligible=pl.when(first).then(pl.lit(bits)).otherwise(None),
        )
        return ShardResult(check(frame.select(list(TABLE)), TABLE, STAGE), notes=self._notes)

    def _ranking(self) -> pl.DataFrame:
        one, store = self._any, self._store
        given = Given.of(
            one.config,
            one.values.open(store) if one.values else None,
            one.vectors.open(store) if one.vectors else None,
        )
        table, notes = ranking_stage.ranked(
            one.config, store, one.metrics, one.answers, given=given
        )
        self._notes += notes
        return table

    def _chosen(self, ranking: pl.DataFrame, groups: pl.DataFrame | None) -> dict[str, pl.Series]:
        """Return the ids of every choice, best first."""
        ids = ranking["instruction_id"].sort()
        ranked = placed(ids, ranking, groups)
        found: dict[str, pl.Series] = {}
        for (quota, short), own in _alike(self._choices, _rule).items():
            budgets = [self._choices[key].config.budget for key in own]
            how = {"allow_short": short, "warn": self._notes.append}
            rows = choose_rows(ranked, budgets, quota, **how)
            found |= {key: ids.gather(rows_B) for key, rows_B in zip(own, rows, strict=True)}
        for key, one in self._choices.items():
            if one.config.budget_tokens is not None:
                found[key] = self._by_tokens(one, ranking, groups)
        return found

    def _by_tokens(
        self, one: ChoiceInputs, ranking: pl.DataFrame, groups: pl.DataFrame | None
    ) -> pl.Series:
        """Return the ids of a choice within a number of tokens: those of every row are counted."""
        config, store = one.config, self._store
        reader = AnswerReader(config, one.scores.open(store), one.metrics.open(store))
        tokens = selection_stage.row_tokens(config, reader, ranking)
        budget = config.budget_tokens or 0
        return select_by_tokens(ranking, groups, tokens, budget, config.quota)["instruction_id"]

    def _kept(self, chosen: Mapping[str, pl.Series]) -> dict[str, pl.DataFrame]:
        """Return instruction_id, response_model, reward and answer_tokens of every choice."""
        found: dict[str, pl.DataFrame] = {}
        for own in _alike(self._choices, _response).values():
            ids = pl.concat([chosen[key] for key in own]).unique(maintain_order=True)
            table = self._answers(self._choices[own[0]], ids)
            for key in own:
                rows = chosen[key].to_frame("instruction_id")
                found[key] = rows.join(
                    table, on="instruction_id", how="left", maintain_order="left"
                )
        return found

    def _answers(self, one: ChoiceInputs, ids: pl.Series) -> pl.DataFrame:
        """Return what is kept of some rows, as `selection` does, without reading a text."""
        config, tokens = one.config, self._reading.tokens
        models, mode, listed = [m.name for m in config.models], mode_of(config), ids.to_list()
        fitted = stored_moments(one.metrics.open(self._store))
        shown_UM = shown_scores(self._reading.of(one.scores, ids), config, fitted)
        order_UM = preference(mode, shown_UM, models, listed, config.seed)
        tokens_UM = None
        if tokens is None:
            kept_U = order_UM[:, 0]
        else:
            tokens_UM = complete_tokens(self._reading.of(tokens, ids), models)
            kept_U = keep(mode, order_UM, _complete(tokens_UM), listed, config.seed)
        selection_stage.check_kept(kept_U)
        rows_U = np.arange(len(ids))
        counts = tokens_UM[rows_U, kept_U] if tokens_UM is not None else [None] * len(ids)
        return pl.DataFrame(
            {
                "instruction_id": ids,
                "response_model": pl.Series(models, dtype=pl.String).gather(kept_U),
                "reward": pl.Series(shown_UM[rows_U, kept_U], nan_to_null=True),
                "answer_tokens": pl.Series(counts, dtype=pl.Int64),
            }
        )


def _alike(
    choices: Mapping[str, ChoiceInputs], rule: Callable[[SelectConfig], R | None]
) -> dict[R, list[str]]:
    """Return the keys of the choices by a rule; those that it does not apply to are left out."""
    found: dict[R, list[str]] = {}
    for key, one in choices.items():
        named = rule(one.config)
        if named is not None:
            found.setdefault(named, []).append(key)
    return found


def _rule(config: SelectConfig) -> tuple[str, bool] | None:
    return None if config.budget_tokens is not None else (config.quota, config.allow_short)


def _response(config: SelectConfig) -> tuple[object, ...]:
    mode = mode_of(config)
    return mode.kind, tuple(mode.models), config.seed


def _complete(tokens_UM: Ints) -> Callable[[Mapping[int, Ints]], Mapping[tuple[int, int], str]]:
    """Return what tells the complete answers among those that are asked for; no text is read."""

    def texts(asked: Mapping[int, Ints]) -> dict[tuple[int, int], str]:
        found: dict[tuple[int, int], str] = {}
        for model, rows in asked.items():
            whole = rows[tokens_UM[rows, model] >= 0]
            found.update(dict.fromkeys(((row, model) for row in whole.tolist()), ""))
        return found

    return texts
