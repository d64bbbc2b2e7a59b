"""All choices from one ranking, which is computed once and not stored.

Array names carry their shape: B chosen rows, U rows that any of some choices has, M crowd models.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import polars as pl

from crowdselect_core.errors import UserError
from crowdselect_core.selection.candidates import Candidates
from crowdselect_core.selection.quota import select_by_tokens
from crowdselect_core.selection.ranked_pool import Places, choose_places, placed
from crowdselect_core.selection.response_choice import Ints, keep, preference
from crowdselect_core.stages.refs import Ref
from crowdselect_core.stages.select import ranking as ranking_stage
from crowdselect_core.stages.select import selection as selection_stage
from crowdselect_core.stages.select.answer_tokens import complete_tokens
from crowdselect_core.stages.select.answers import mode_of
from crowdselect_core.stages.select.choice_inputs import ChoiceInputs, named
from crowdselect_core.stages.select.kept_answers import AnswerReader
from crowdselect_core.stages.select.method_inputs import Given
from crowdselect_core.stages.select.metrics import shown_scores, stored_moments
from crowdselect_core.stages.select.row_lookup import RowLookup
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.plan import ShardResult
from crowdselect_core.tables import CHOICES as TABLE
from crowdselect_core.tables import check
from crowdselect_core.util.once import Once

R = TypeVar("R")


@dataclass
class Reading:
    """What the parts read of the rows, each artifact opened once."""

    store: Store
    tokens: Ref | None
    _known: dict[str, Once[Any]] = field(default_factory=dict)

    def of(self, ref: Ref, ids: pl.Series) -> pl.DataFrame:
        """Return the rows of an artifact with these ids, in their order."""
        lookup = self._known.setdefault(ref.key, Once(lambda: RowLookup([ref.open(self.store)])))
        found: pl.DataFrame | None = lookup().of(ids)
        if found is None:
            found = ref.open(self.store).shard(0).clear()
        return ids.to_frame("instruction_id").join(
            found, on="instruction_id", how="left", maintain_order="left"
        )

    def clusters(self, ref: Ref) -> pl.DataFrame:
        """Return the cluster of every row, in id order."""

        def read() -> pl.DataFrame:
            frame = ref.open(self.store).frame(["instruction_id", "cluster_id"])
            return frame.sort("instruction_id")

        found: pl.DataFrame = self._known.setdefault(ref.key, Once(read))()
        return found


class Part:
    """All choices from one ranking."""

    def __init__(self, store: Store, choices: Mapping[str, ChoiceInputs], reading: Reading) -> None:
        self._store, self._choices, self._reading = store, choices, reading
        self._any = next(iter(choices.values()))
        self._notes: list[str] = []

    def made(self) -> ShardResult:
        """Return the choices as the rows of a shard."""
        ranking = self._ranking()
        rank = pl.int_range(1, pl.len() + 1, dtype=pl.Int64)
        kept = self._kept(self._chosen(ranking))
        frame = pl.concat(
            rows.with_columns(selection=pl.lit(key), rank=rank) for key, rows in kept.items()
        )
        bits = np.packbits(ranking["eligible"].to_numpy()).tobytes()
        # not by `when`: each null would have the length of the bits, which a writer makes room for
        eligible = pl.Series([bits]).extend_constant(None, frame.height - 1)
        frame = frame.with_columns(ranking=pl.lit(self._any.ranking), eligible=eligible)
        return ShardResult(check(frame.select(list(TABLE)), TABLE, "choices"), notes=self._notes)

    def _ranking(self) -> pl.DataFrame:
        one, store = self._any, self._store
        given = Given.of(
            one.config,
            one.values.open(store) if one.values else None,
            one.vectors.open(store) if one.vectors else None,
        )
        with named(self._choices.values()):
            table, notes = ranking_stage.ranked(
                one.config, store, one.metrics, one.answers, given=given
            )
        self._notes += notes
        return table

    def _chosen(self, ranking: pl.DataFrame) -> dict[str, pl.Series]:
        """Return the ids of every choice, best first."""
        by_id = ranking.select("instruction_id", "score", "eligible", "reason").sort(
            "instruction_id"
        )
        ids, found = by_id["instruction_id"], dict[str, pl.Series]()
        for (_, quota, short), own in _alike(self._choices, _quotas).items():
            clusters = self._choices[own[0]].clusters
            ranked = placed(ids, by_id, self._reading.clusters(clusters) if clusters else None)
            rows = self._places(ranked, own, quota, short)
            found |= {key: ids.gather(rows_B) for key, rows_B in zip(own, rows, strict=True)}
        for key, one in self._choices.items():
            if one.config.budget_tokens is not None:
                with named([one]):
                    found[key] = self._by_tokens(one, ranking)
        return found

    def _places(self, ranked: Candidates, own: list[str], quota: str, short: bool) -> list[Places]:
        """Return what each of some choices takes, which differ in their budgets alone."""
        budgets = [self._choices[key].config.budget for key in own]
        try:
            return choose_places(ranked, budgets, quota, allow_short=short, warn=self._notes.append)
        except UserError:
            for key, budget in zip(own, budgets, strict=True):  # again: which of them is it of?
                with named([self._choices[key]]):
                    choose_places(ranked, [budget], quota, allow_short=short, warn=_unheard)
            with named([self._choices[key] for key in own]):
                raise

    def _by_tokens(self, one: ChoiceInputs, ranking: pl.DataFrame) -> pl.Series:
        """Return the ids of a choice within a number of tokens: those of every row are counted."""
        config, store = one.config, self._store
        reader = AnswerReader(config, one.scores.open(store), one.metrics.open(store))
        tokens = selection_stage.row_tokens(config, reader, ranking)
        groups = self._reading.clusters(one.clusters) if one.clusters else None
        budget = config.budget_tokens or 0
        return select_by_tokens(ranking, groups, tokens, budget, config.quota)["instruction_id"]

    def _kept(self, chosen: Mapping[str, pl.Series]) -> dict[str, pl.DataFrame]:
        """Return instruction_id, response_model, reward and answer_tokens of every choice."""
        found: dict[str, pl.DataFrame] = {}
        for own in _alike(self._choices, _response).values():
            ids = pl.concat([chosen[key] for key in own]).unique(maintain_order=True)
            with named([self._choices[key] for key in own]):
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


def _unheard(_warning: str) -> None:
    """Take a warning that was given before."""


def _alike(
    choices: Mapping[str, ChoiceInputs], rule: Callable[[ChoiceInputs], R | None]
) -> dict[R, list[str]]:
    """Return the keys of the choices by a rule; those that it does not apply to are left out."""
    found: dict[R, list[str]] = {}
    for key, one in choices.items():
        value = rule(one)
        if value is not None:
            found.setdefault(value, []).append(key)
    return found


def _quotas(one: ChoiceInputs) -> tuple[str, str, bool] | None:
    """Return by what rows are shared among clusters; None where the budget is one of tokens."""
    if one.config.budget_tokens is not None:
        return None
    clusters = one.clusters.key if one.clusters else ""
    return clusters, one.config.quota, one.config.allow_short


def _response(one: ChoiceInputs) -> tuple[object, ...]:
    """Return by what an answer is kept."""
    mode = mode_of(one.config)
    return mode.kind, tuple(mode.models), one.config.seed


def _complete(tokens_UM: Ints) -> Callable[[Mapping[int, Ints]], Mapping[tuple[int, int], str]]:
    """Return what tells the complete answers among those that are asked for; no text is read."""

    def texts(asked: Mapping[int, Ints]) -> dict[tuple[int, int], str]:
        found: dict[tuple[int, int], str] = {}
        for model, rows in asked.items():
            whole = rows[tokens_UM[rows, model] >= 0]
            found.update(dict.fromkeys(((row, model) for row in whole.tolist()), ""))
        return found

    return texts
