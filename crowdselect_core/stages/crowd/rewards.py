"""Stage `rewards`: what one reward model gives the answers of one crowd model.

A score is a cell of the reward model's identity, named by the prompt and the answer's own text: the
same answer of two models, or in two data sets, is scored once, and another reward model costs only
its own scores.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from hashlib import sha256
from typing import Any

import polars as pl

from crowdselect_core.config.reward import JudgeReward, RewardConfig
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import DamagedArtifact
from crowdselect_core.generate.call_tracker import CallTracker
from crowdselect_core.generate.in_flight import in_flight_of
from crowdselect_core.reward.base import Scorer
from crowdselect_core.reward.identity import cache_spec
from crowdselect_core.reward.score_cells import take
from crowdselect_core.stages.base import Stage
from crowdselect_core.stages.crowd.answer_texts import Answered
from crowdselect_core.stages.crowd.finished_calls import finish
from crowdselect_core.stages.crowd.responses import fingerprint
from crowdselect_core.stages.crowd.score_requests import Scorings
from crowdselect_core.stages.shards import by_shard
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.cache.call_cache import CallCache
from crowdselect_core.store.cache.key_index import as_keys
from crowdselect_core.store.cache.work_sharing import Alone
from crowdselect_core.store.cache.writer import CacheWriter
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import Plan, ShardResult
from crowdselect_core.tables import REWARDS as TABLE
from crowdselect_core.tables import check

STAGE, VERSION = "rewards", 1


def spec(
    config: SelectConfig,
    reward: RewardConfig,
    answered: Answered,
    reference: Answered | None = None,
    failed: Mapping[bytes, str] = {},
    heads: Sequence[str] = (),
) -> Spec:
    """Name the artifact: the answers and those they are held against, by content; who scores."""
    identity: dict[str, Any] = {"cells": cache_spec(reward).key}
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
    report: Callable[[CallTracker], None],
) -> CallTracker:
    """Score every answer that the store has no score of; scores are committed as they come.

    Args:
        config: of the given data set.
        store: where cells are.
        reward: who scores.
        answered: whose answers.
        reference: pairwise judges: whose answers these are held against.
        scorer: what runs the reward model.
        report: called before the first score and after every one.

    Raises:
        TooManyFailures: more calls failed than may.
    """
    work = Scorings(config, store, reward, answered, reference)
    wanted, present = work.count()
    name = f"{reward.name} of {answered.model.name}"
    calls = CallTracker(
        name, wanted, present, config.max_failure_rate, report, in_flight_of(scorer)
    )
    if not wanted:
        return calls
    report(calls)
    with CacheWriter(work.cells) as writer, work.cells.work_sharing() as sharing:
        items = work.items(sharing, lambda: calls.slowest)
        scorer.run(calls.timed(items), partial(take, calls, writer))
    own = reference is not None and reference.model.name == answered.model.name
    finish(store, work.cells, calls, paced=not own)  # held against itself an answer costs no call
    return calls


def score_shard(
    config: SelectConfig,
    store: Store,
    reward: RewardConfig,
    answered: Answered,
    scorer: Scorer,
    index: int,
) -> CallTracker:
    """Score the answers of one shard that have no score, all by this process; see `score`.

    Whoever shares the shards out decides whether too many calls failed: a few of one shard say
    little of the whole.

    Raises:
        TooManyFailures: nothing succeeds any more.
    """
    work = Scorings(config, store, reward, answered, None, index)
    wanted, present = work.count()
    name = f"{reward.name} of {answered.model.name}"
    calls = CallTracker(name, wanted, present, 1.0, lambda _: None)
    if wanted:
        with CacheWriter(work.cells) as writer:
            items = work.items(Alone(), lambda: calls.slowest)
            scorer.run(calls.timed(items), partial(take, calls, writer))
    return calls


def count(
    config: SelectConfig,
    store: Store,
    reward: RewardConfig,
    answered: Answered,
    reference: Answered | None,
) -> tuple[int, int]:
    """Count the answers that `score` would score, and those that have a score."""
    return Scorings(config, store, reward, answered, reference).count()


def plan(
    config: SelectConfig,
    store: Store,
    reward: RewardConfig,
    answered: Answered,
    reference: Answered | None = None,
    failed: Mapping[bytes, str] = {},
    heads: Sequence[str] = (),
) -> Plan:
    """Lay out the scores of every answer, shard by shard of the responses.

    Output columns: REWARDS. Counts: scores, truncated, errors by code. Facts: the heads' names.
    """
    work = Scorings(config, store, reward, answered, reference)
    work.cells.refresh()

    def shard(rows: pl.DataFrame) -> ShardResult:
        return _table(work.keyed(rows), work.cells, failed)

    return by_shard(answered.responses.open(store), shard, facts=lambda: {"heads": list(heads)})


REWARDS = Stage(
    "rewards", "Write the table of a reward model's scores of a model's answers.", spec, plan
)


def _table(rows: pl.DataFrame, cells: CallCache, failed: Mapping[bytes, str]) -> ShardResult:
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
    return ShardResult(check(table, TABLE, "rewards"), counts)


def is_pairwise(reward: RewardConfig) -> bool:
    """Tell a judge that compares from one that grades."""
    return isinstance(reward, JudgeReward) and reward.mode == "pairwise"


def reference_of(reward: RewardConfig, crowd: Sequence[Answered]) -> Answered | None:
    """Return whose answers a judge holds all others against; None where it compares none."""
    if not is_pairwise(reward):
        return None
    wanted = getattr(reward, "reference_model", None)
    return next(a for a in crowd if a.model.name == wanted)
