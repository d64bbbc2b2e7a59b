"""Stage `rewards`: what one reward model gives the answers of one crowd model.

A score is a cell of the reward model's identity, named by the prompt and the answer's own text: the
same answer of two models, or in two data sets, is scored once, and another reward model costs only
its own scores.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from hashlib import sha256
from typing import Any

import numpy as np
import polars as pl

from crowdselect_core.calls import Calls, TooManyFailures
from crowdselect_core.config import SelectConfig
from crowdselect_core.errors import DamagedArtifact
from crowdselect_core.generate.base import Failure
from crowdselect_core.ingest.dataset import Dataset
from crowdselect_core.reward.base import Item, Score, Scorer
from crowdselect_core.reward.config import FunctionReward, JudgeReward, RewardConfig
from crowdselect_core.reward.identity import cells_spec
from crowdselect_core.stages.common import Aligned, open_dataset
from crowdselect_core.stages.given import given_columns
from crowdselect_core.stages.pace import write_pace
from crowdselect_core.stages.prompts import prompts_of
from crowdselect_core.stages.responses import fingerprint
from crowdselect_core.stages.texts import Answered, Texts
from crowdselect_core.store.askers import Askers
from crowdselect_core.store.build import Part, Plan
from crowdselect_core.store.cells import Cells, as_keys, cell_key
from crowdselect_core.store.identity import Spec, canonical
from crowdselect_core.store.store import Artifact, Store
from crowdselect_core.store.writer import CellWriter
from crowdselect_core.tables import REWARDS, Columns, check

STAGE, VERSION = "rewards", 1

CELL: Columns = {
    "scores": pl.List(pl.Float64),
    "truncated": pl.Boolean,
    "raw": pl.String,
    "error": pl.String,
}
READ_ROWS = 16_384  # answers that are read and handed to a scorer at once


def spec(
    reward: RewardConfig,
    answered: Answered,
    reference: Answered | None = None,
    failed: Sequence[bytes] = (),
) -> Spec:
    """Name the artifact: the answers and those they are held against, by content; who scores."""
    identity: dict[str, Any] = {"cells": cells_spec(reward).key}
    if failed:
        identity["failed"] = sha256(b"".join(sorted(failed))).hexdigest()
    identity["answers"] = answered.responses.counts.get("fingerprint")
    inputs = {"responses": answered.responses.key}
    if reference is not None:
        identity["reference"] = reference.responses.counts.get("fingerprint")
        inputs["reference"] = reference.responses.key
    return Spec(STAGE, VERSION, identity, inputs)


def score(
    config: SelectConfig,
    store: Store,
    reward: RewardConfig,
    answered: Answered,
    reference: Answered | None,
    scorer: Scorer,
    report: Callable[[Calls], None],
) -> Calls:
    """Score every answer that the store has no score of; scores are committed as they come.

    Args:
        config: of the given data set.
        store: where cells are.
        reward: who scores.
        answered: whose answers.
        reference: pairwise judges: whose answers these are held against.
        scorer: what runs the reward model.
        report: called after every score.

    Raises:
        TooManyFailures: more calls failed than may.
    """
    work = _Work(config, store, reward, answered, reference)
    wanted, present = work.count()
    name = f"{reward.name} of {answered.model.name}"
    calls = Calls(name, wanted, present, config.max_failure_rate, report)
    if not wanted:
        return calls
    with CellWriter(work.cells) as writer, work.cells.askers() as askers:
        scorer.run(calls.clocked(work.items(askers)), partial(_take, calls, writer))
    work.cells.merge(all_small=True)
    own = reference is not None and reference.model.name == answered.model.name
    if calls.answered and not own:  # held against itself an answer costs no call
        write_pace(store, work.cells.spec, calls)
    if calls.breached:
        raise TooManyFailures(calls.complaint())
    return calls


def count(
    config: SelectConfig,
    store: Store,
    reward: RewardConfig,
    answered: Answered,
    reference: Answered | None,
) -> tuple[int, int]:
    """Count the answers that `score` would score, and those that have a score."""
    return _Work(config, store, reward, answered, reference).count()


def _take(calls: Calls, writer: CellWriter, given: Score) -> None:
    calls.failed.pop(given.key, None)
    usable = given.error is None and all(math.isfinite(s) for s in given.scores)
    if usable:
        writer.add((given.key, list(given.scores), given.truncated, given.raw, None))
        calls.success()
        return
    error = given.error or "not_finite: a score is not a finite number"
    if given.failure is Failure.ROW or given.error is None:
        writer.add((given.key, None, given.truncated, given.raw, error))
        calls.failure(given.key, error, Failure.ROW)
    else:
        calls.failure(given.key, error, given.failure)


class _Work:
    """The answers of one crowd model, with the keys of their scores."""

    def __init__(
        self,
        config: SelectConfig,
        store: Store,
        reward: RewardConfig,
        answered: Answered,
        reference: Answered | None,
    ) -> None:
        self.dataset: Dataset = open_dataset(config)
        self.reward, self.answered, self.reference = reward, answered, reference
        self.cells = Cells(store, cells_spec(reward), CELL)
        self._texts = Texts(store, self.dataset, answered)
        self._other = Texts(store, self.dataset, reference) if reference else None
        self._aligned = Aligned(reference.responses.open(store)) if reference else None
        self._responses: Artifact = answered.responses.open(store)

    def count(self) -> tuple[int, int]:
        """Count the answers that lack a score, and those that have one."""
        self.cells.refresh()
        keys = [as_keys(frame["score"].to_list()) for _, frame in self.tables()]
        distinct = np.unique(np.concatenate([as_keys([]), *keys]))
        wanted = int(self.cells.missing(distinct).sum())
        return wanted, len(distinct) - wanted

    def tables(self) -> Iterator[tuple[int, pl.DataFrame]]:
        """Yield (shard, its rows that have an answer to score), with the key of the score."""
        for index in range(len(self._responses.manifest.shards)):
            yield (
                index,
                self.keyed(self._responses.shard(index)).filter(pl.col("score").is_not_null()),
            )

    def keyed(self, table: pl.DataFrame) -> pl.DataFrame:
        """Add to a shard of responses the column `score`: the key, null where nothing is scored."""
        extras = self._extras(table)
        references = self._references(table)
        keys = [
            cell_key(prompt, content, *more, *held)
            if prompt is not None and content is not None and (length or 0) > 0
            else None
            for prompt, content, length, more, held in zip(
                table["prompt"].to_list(), table["content"].to_list(),
                table["characters"].to_list(), extras, references, strict=True,
            )
        ]  # fmt: skip
        return table.with_columns(pl.Series("score", keys, dtype=pl.Binary))

    def items(self, askers: Askers) -> Iterator[Item]:
        """Yield the answers without a score, each text once; other processes have their share."""
        asked: set[bytes] = set()
        for mine in askers.rounds():
            for _, whole in self.tables():
                self.cells.refresh()
                left = whole.filter(self.cells.missing(as_keys(whole["score"].to_list())))
                ours = pl.Series(map(mine, left["score"].to_list()), dtype=pl.Boolean)
                left = left.filter(ours)
                for start in range(0, left.height, READ_ROWS):
                    yield from self._items(left[start : start + READ_ROWS], mine, asked)

    def _items(
        self, rows: pl.DataFrame, mine: Callable[[bytes], bool], asked: set[bytes]
    ) -> Iterator[Item]:
        texts = self._texts.of(rows)
        others = self._held_against(rows)
        columns = self._columns(rows)
        for place, prompt in prompts_of(self.dataset, rows):
            key, text = rows["score"][place], texts[place]
            if text is None or key in asked or not mine(key):
                continue
            asked.add(key)
            extra = {name: values[place] for name, values in columns.items()}
            yield Item(key, prompt.messages, text, extra, others[place])

    def _columns(self, rows: pl.DataFrame) -> Mapping[str, list[Any]]:
        if not isinstance(self.reward, FunctionReward) or not self.reward.columns:
            return {}
        return given_columns(self.dataset, rows, self.reward.columns)

    def _extras(self, table: pl.DataFrame) -> list[tuple[bytes, ...]]:
        columns = self._columns(table)
        if not columns:
            return [()] * table.height
        rows = zip(*columns.values(), strict=True)
        return [(canonical([repr(v) for v in row]),) for row in rows]

    def _references(self, table: pl.DataFrame) -> list[tuple[bytes, ...]]:
        if self._aligned is None:
            return [()] * table.height
        found: list[tuple[bytes, ...]] = [(b"",)] * table.height
        rows = _reference_rows(self._aligned, table)
        for place, content in rows.select("place", "content").iter_rows():
            found[place] = (content or b"",)
        return found

    def _held_against(self, table: pl.DataFrame) -> list[str | None]:
        """Return the reference model's first answer to every row."""
        if self._aligned is None or self._other is None:
            return [None] * table.height
        rows = _reference_rows(self._aligned, table)
        texts = self._other.of(rows)
        found: list[str | None] = [None] * table.height
        for place, text in zip(rows["place"].to_list(), texts, strict=True):
            found[place] = text
        return found


def _reference_rows(reference: Aligned, table: pl.DataFrame) -> pl.DataFrame:
    """Return the reference model's first answer to every row, with the row's place."""
    places = table.select("instruction_id", pl.int_range(pl.len()).alias("place"))
    firsts = reference.of(table).filter(pl.col("sample") == 0)
    return firsts.join(places, on="instruction_id").sort("source_row", "place")


def plan(
    config: SelectConfig,
    store: Store,
    reward: RewardConfig,
    answered: Answered,
    reference: Answered | None,
    failed: Mapping[bytes, str],
    heads: Sequence[str],
) -> Plan:
    """Lay out the scores of every answer, shard by shard of the responses.

    Output columns: REWARDS. Counts: scores, truncated, errors by code. Facts: the heads' names.
    """
    work = _Work(config, store, reward, answered, reference)
    work.cells.refresh()
    responses = answered.responses.open(store)

    def shard(index: int) -> Callable[[], Part]:
        return lambda: _table(work.keyed(responses.shard(index)), work.cells, failed)

    shards = [shard(index) for index in range(len(responses.manifest.shards))]
    cut = {"rows": [s.rows for s in responses.manifest.shards]}
    facts = {"heads": list(heads)}
    return Plan(shards, cut=cut, total=len(shards), facts=lambda: facts)


def _table(rows: pl.DataFrame, cells: Cells, failed: Mapping[bytes, str]) -> Part:
    keys = rows["score"].drop_nulls().to_list()
    found = cells.read(as_keys(keys)).select(
        pl.col("key").alias("score"), "scores", "truncated", pl.col("error").alias("unscored")
    )
    table = rows.join(found, on="score", how="left", maintain_order="left")
    lost = pl.Series("lost", [failed.get(k) if k else None for k in rows["score"]], dtype=pl.String)
    nothing = pl.col("scores").is_null() & pl.col("unscored").is_null() & lost.is_null()
    if gone := table.filter(pl.col("score").is_not_null() & nothing).height:
        raise DamagedArtifact(f"{cells.spec.folder}: {gone} scores vanished while they were read")
    unasked = pl.when(pl.col("scores").is_null()).then(pl.lit("no_answer: nothing to score"))
    table = table.select(
        "instruction_id", "source_row", "sample", "scores",
        pl.col("truncated").fill_null(False),
        pl.when(pl.col("scores").is_null())
        .then(pl.coalesce("unscored", lost, "error", unasked)).alias("error"),
    )  # fmt: skip
    codes = table["error"].drop_nulls().str.split(":").list.first().value_counts().sort("error")
    counts = {
        "scores": table["scores"].len() - table["scores"].null_count(),
        "truncated": int(table["truncated"].sum()),
        "fingerprint": fingerprint(table.select("instruction_id", "sample", "scores")),
    } | {f"error/{code}": int(count) for code, count in codes.iter_rows()}
    return Part(check(table, REWARDS, "rewards"), counts)


def is_pairwise(reward: RewardConfig) -> bool:
    """Tell a judge that compares from one that grades."""
    return isinstance(reward, JudgeReward) and reward.mode == "pairwise"
