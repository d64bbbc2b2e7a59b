"""Stage `zoo`: answers and scores, wherever they came from, as one generator zoo.

One row per instruction with its prompt, and one struct column per model with its answer, how it
ended and a number per reward model. What is chosen from it is chosen as from any data set.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.config.dataset import DatasetConfig
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.ingest.dataset import Dataset
from crowdselect_core.metrics.combine import Moments, combine, moments
from crowdselect_core.stages.base import Stage
from crowdselect_core.stages.crowd.answer_texts import Answered, Texts
from crowdselect_core.stages.crowd.prompts import prompts_of
from crowdselect_core.stages.partitions import open_dataset
from crowdselect_core.stages.refs import Ref
from crowdselect_core.stages.select.metrics import stored_moments
from crowdselect_core.stages.shards import AlignedReader, by_shard
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import Plan, ShardResult
from crowdselect_core.tables import shown_field
from crowdselect_core.util.once import Once

STAGE, VERSION = "zoo", 2

MESSAGES = pl.List(pl.Struct({"role": pl.String, "content": pl.String}))


@dataclass(frozen=True)
class Scored:
    """The scores that one reward model gave one model's answers."""

    reward: str
    heads: tuple[str, ...]  # '' is the main one
    rewards: Ref

    def column(self, head: str) -> str:
        """Name the number of a head in the model's struct."""
        return f"{self.reward}/{head}" if head else self.reward


@dataclass(frozen=True)
class Member:
    """One model of the zoo: its answers, and its scores by reward model."""

    answered: Answered
    scored: tuple[Scored, ...]

    @property
    def name(self) -> str:
        """The column's name."""
        return self.answered.model.name

    @property
    def sampled(self) -> bool:
        """Whether it has several samples of each answer."""
        return self.answered.generated and self.answered.model.sampling.n > 1


def spec(
    config: SelectConfig,
    prompts: Ref,
    members: Sequence[Member],
    reference: Ref | None = None,
) -> Spec:
    """Name the artifact: the prompts, the answers by their content, the scores.

    Args:
        config: of the given data set (`missing_work.without_missing`), as in `plan`.
        prompts: of the rows.
        members: the models with their answers and scores.
        reference: metrics of other rows, by whose moments samples are compared.
    """
    columns = [r for r in config.reward_models if isinstance(r, str)]
    identity: dict[str, Any] = {"columns": sorted(columns), "members": {}}
    inputs = {"prompts": prompts.key} | ({"reference": reference.key} if reference else {})
    for member in members:
        refs = [member.answered.responses, *(s.rewards for s in member.scored)]
        identity["members"][member.name] = {
            "answers": refs[0].counts.get("fingerprint"),
            "scores": {s.reward: s.rewards.counts.get("fingerprint") for s in member.scored},
        }
        inputs |= {f"{member.name}/{i}": ref.key for i, ref in enumerate(refs)}
    return Spec(STAGE, VERSION, identity, inputs)


def plan(
    config: SelectConfig,
    store: Store,
    prompts: Ref,
    members: Sequence[Member],
    reference: Ref | None = None,
) -> Plan:
    """Write the zoo, shard by shard of the prompts.

    Of several samples of a model the best one is shown: complete before cut or empty, then by its
    own score (with several reward models the mean of its z-scores, by the moments that c[i,m] has
    them by), then the earliest. Each reward model's number is the mean over the samples, which is
    c[i,m,k]; the shown sample's own stands beside it, so that `best` finds the best single
    complete sample of all models.

    Output columns: instruction_id, instruction, messages, and a struct per model: content,
    finish_reason, a number per reward model and head, and where it has several samples
    `shown_field` of each reward model.
    """
    maker = _Maker(config, store, members, reference)
    return by_shard(prompts.open(store), lambda rows: ShardResult(maker.zoo(rows)))


ZOO = Stage("zoo", "Join answers and scores into one generator zoo.", spec, plan)


def dataset_of(config: SelectConfig, zoo: Ref) -> SelectConfig:
    """Return the config that chooses from a zoo of the store, or from several of them."""
    path = f"{config.store.rstrip('/')}/{zoo.stage}/{zoo.key}"
    dataset = DatasetConfig(path=path, format="generator-zoo")
    update = {
        "dataset": dataset,
        "reward_models": config.reward_names,
        "limit": None,
        "heldout": None,  # its rows are not in the zoo
    }
    return config.model_copy(update=update)


class _Maker:
    def __init__(
        self,
        config: SelectConfig,
        store: Store,
        members: Sequence[Member],
        reference: Ref | None,
    ) -> None:
        self._dataset: Dataset = open_dataset(config)
        self._config, self._store, self._members = config, store, members
        self._texts = {m.name: Texts(store, self._dataset, m.answered) for m in members}
        self._moments = Once(
            lambda: stored_moments(reference.open(store)) if reference else self._all_moments()
        )
        refs = [m.answered.responses for m in members]
        refs += [s.rewards for m in members for s in m.scored]
        self._aligned = {(r.stage, r.key): AlignedReader(r.open(store)) for r in refs}

    def zoo(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the zoo's rows of one shard of prompts."""
        prompts = [prompt.messages for _, prompt in prompts_of(self._dataset, rows)]
        texts: list[str | None] = [None] * rows.height
        source_N = rows["source_row"].to_numpy()
        for part in self._dataset.partitions(1024):
            if np.searchsorted(source_N, part.first_row + part.rows) > np.searchsorted(
                source_N, part.first_row
            ):
                for first, batch in self._dataset.instructions(part):
                    start, end = np.searchsorted(source_N, [first, first + len(batch)])
                    for place in range(int(start), int(end)):
                        texts[place] = batch[int(source_N[place]) - first]
        columns = [self._column(member, rows) for member in self._members]
        return rows.select("instruction_id").with_columns(
            pl.Series("instruction", texts, dtype=pl.String),
            pl.Series("messages", [list(p) for p in prompts], dtype=MESSAGES),
            *columns,
        )

    def _rows_of(self, ref: Ref) -> AlignedReader:
        return self._aligned[ref.stage, ref.key]

    def _column(self, member: Member, rows: pl.DataFrame) -> pl.Series:
        """Return a member's struct: of every row the sample that is shown."""
        table = self._rows_of(member.answered.responses).of(rows)
        fields: list[pl.Expr] = []
        for scored in member.scored:
            grades = self._rows_of(scored.rewards).of(rows)
            lists = grades["scores"]
            for place, head in enumerate(scored.heads):
                column = scored.column(head)
                table = table.with_columns(lists.list.get(place, null_on_oob=True).alias(column))
                fields.append(pl.col(column))
        for reward in self._config.reward_models:
            if isinstance(reward, str) and not member.answered.generated:
                table = table.with_columns(self._given_scores(reward, member.name, table))
                fields.append(pl.col(reward))
        best = self._best(member, table)
        shown = table.filter(best)
        texts = self._texts[member.name].of(shown)
        means = table.group_by("instruction_id", maintain_order=True).agg(f.mean() for f in fields)
        single = [pl.col(s.reward).alias(shown_field(s.reward)) for s in member.scored]
        shown = shown.select(
            "instruction_id", pl.Series("content", texts, dtype=pl.String), "finish_reason",
            *(single if member.sampled else []),
        )  # fmt: skip
        joined = rows.select("instruction_id").join(
            shown.join(means, on="instruction_id"), on="instruction_id", how="left",
            maintain_order="left",
        )  # fmt: skip
        return joined.select(pl.struct(pl.exclude("instruction_id")).alias(member.name)).to_series()

    def _best(self, member: Member, table: pl.DataFrame) -> pl.Series:
        """Tell the shown sample of every row: complete first, then by score, then the earliest."""
        ranked = table.select("instruction_id", "sample").with_columns(
            usable=pl.Series(_complete(table)),
            score=pl.Series(self._own_scores(member, table)),
            place=pl.int_range(table.height),
        )
        first = ranked.sort(
            ["usable", "score", "sample"], descending=[True, True, False], maintain_order=True
        ).unique("instruction_id", keep="first", maintain_order=True)["place"]
        best = np.zeros(table.height, dtype=bool)
        best[first.to_numpy()] = True
        return pl.Series(best)

    def _own_scores(self, member: Member, table: pl.DataFrame) -> NDArray[np.float64]:
        """Return what samples are compared by, combined as c[i,m] is; -inf without a score."""
        names = [s.reward for s in member.scored]
        if member.sampled and len(names) > 1:
            names = [name for name in names if self._moments()[name].std > 0]
        if not member.sampled or not names:  # nothing to be compared, or by
            return np.zeros(table.height)
        given = {r: table[r].fill_null(float("nan")).to_numpy()[:, None] for r in names}
        fitted = self._moments() if len(names) > 1 else {}
        return np.nan_to_num(combine(given, fitted)[:, 0], nan=-np.inf)

    def _given_scores(self, reward: str, model: str, table: pl.DataFrame) -> pl.Series:
        """Return a score column that the data set has of a model."""
        source_N = table["source_row"].to_numpy()
        found = np.full(len(source_N), np.nan)
        position = [m.name for m in self._dataset.everyone].index(model)
        for part in self._dataset.partitions(1024):
            start, end = np.searchsorted(source_N, [part.first_row, part.first_row + part.rows])
            if end > start:
                for batch, scores in self._dataset.scores(part):
                    last = batch.first_row + batch.rows
                    start, end = np.searchsorted(source_N, [batch.first_row, last])
                    here = source_N[start:end] - batch.first_row
                    found[start:end] = scores[reward][here, position]
        return pl.Series(reward, found, nan_to_null=True)

    def _all_moments(self) -> dict[str, Moments]:
        """Fit the z-scores as the metrics do: over c[i,m,k], the means of the crowd's samples."""
        found: dict[str, Moments] = {}
        for name in {s.reward for m in self._members for s in m.scored}:
            found[name] = moments(partial(self._blocks, name))
        return found

    def _blocks(self, reward: str) -> Iterator[NDArray[np.float64]]:
        main = pl.col("scores").list.get(0, null_on_oob=True)
        for member in self._members:
            for scored in member.scored:
                if scored.reward == reward and member.answered.model.role == "crowd":
                    artifact = scored.rewards.open(self._store)
                    for frame in artifact.frames(["instruction_id", "scores"]):
                        means = frame.group_by("instruction_id").agg(main.mean())["scores"]
                        yield means.fill_null(float("nan")).to_numpy()


def _complete(table: pl.DataFrame) -> NDArray[np.bool_]:
    """Tell the answers that are not empty and not cut off."""
    whole = (pl.col("characters") > 0) & (pl.col("finish_reason") != "length").fill_null(True)
    flags: NDArray[np.bool_] = table.select(whole.fill_null(False)).to_series().to_numpy()
    return flags
