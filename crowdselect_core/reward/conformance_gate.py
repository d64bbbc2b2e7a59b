"""The conformance check of every reward model of a config, before a long job."""

import logging

from crowdselect_core.config.reward import ClassifierReward, LikelihoodReward, RewardConfig
from crowdselect_core.reward.base import Scorer
from crowdselect_core.reward.conformance import Report, check_conformance

log = logging.getLogger("crowdselect")


def conform(reward: RewardConfig, scorer: Scorer) -> Report | None:
    """Check a model that computes scores; judges and functions are what their authors say.

    Returns:
        What was checked, None for a judge or a function.

    Raises:
        ConfigError: the model fails, and the config does not say `conformance: false`.
    """
    if not isinstance(reward, ClassifierReward | LikelihoodReward):
        return None
    # with dtype auto a scorer in this process knows what its weights are
    precise = True if reward.dtype == "float32" else None
    report = check_conformance(reward.name, scorer, precise=precise, refuse=reward.conformance)
    if not report.passed:
        log.warning("reward model %s is used all the same: %s", reward.name, report.reasons())
    return report
