"""Scores of a model on a Ray cluster: a shard of answers a call; workers commit the cells."""

from collections.abc import Callable

from crowdselect_core.cluster import cached_calls
from crowdselect_core.config.engine import TransformersEngineConfig
from crowdselect_core.config.reward import ClassifierReward, LikelihoodReward, RewardConfig
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.generate.call_tracker import CallTracker
from crowdselect_core.reward.identity import cache_spec
from crowdselect_core.stages.crowd.answer_texts import Answered
from crowdselect_core.stages.crowd.score_requests import Scorings
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.executors.base import Needs

STAGE = "rewards"


def spreads(config: SelectConfig, reward: RewardConfig) -> bool:
    """Tell whether a reward model scores on the workers of a cluster.

    So do models that run in a process of this library. A judge is an endpoint or a server of its
    own, vLLM servers are placed by themselves (see `serving`), and a function is code of this
    process's environment.
    """
    if config.executor.kind != "ray":
        return False
    if isinstance(reward, ClassifierReward):
        return isinstance(reward.engine, TransformersEngineConfig)
    return isinstance(reward, LikelihoodReward)


def needs(reward: ClassifierReward | LikelihoodReward) -> Needs:
    """Return what one call takes."""
    return Needs(gpu=reward.device is None or reward.device.startswith("cuda"))


def score(
    config: SelectConfig,
    store: Store,
    reward: ClassifierReward | LikelihoodReward,
    answered: Answered,
    report: Callable[[CallTracker], None],
    check: Callable[[], None],
) -> tuple[CallTracker, list[str]]:
    """Score every answer that the store has no score of; see `stages.crowd.rewards.score`.

    Args:
        config: of the given data set.
        store: where cells are.
        reward: who scores.
        answered: whose answers.
        report: called before the first score, and whenever a shard is finished.
        check: called once a second; what it raises ends the calls.

    Returns:
        What came of the calls, and the names of the model's heads.

    Raises:
        TooManyFailures: more calls failed than may.
        ConfigError, WorkerLost: see `Calls`.
    """
    work = Scorings(config, store, reward, answered, None)
    wanted, present = work.count()
    name = f"{reward.name} of {answered.model.name}"
    calls = CallTracker(name, wanted, present, config.max_failure_rate, report)
    report(calls)
    # Where nothing is missing, one call still tells the heads.
    shards = cached_calls.Shards(
        STAGE, "scores", needs(reward),
        count=len(answered.responses.open(store).manifest.shards) if wanted else 1,
        what={
            "config": config.model_dump_json(include=set(SelectConfig.model_fields)),
            "reward": reward.model_dump_json(),
            "model": answered.model.model_dump_json(),
            "responses": answered.responses.model_dump_json(),
            "cells": cache_spec(reward).key,
        },
    )  # fmt: skip
    told = cached_calls.run(shards, config.executor, store, work.cells, calls, check)
    return calls, list(told["heads"])
