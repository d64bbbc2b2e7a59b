"""The conformance check of every reward model of a config, before a long job."""

import logging
from collections.abc import Iterator

from crowdselect_core.config import SelectConfig
from crowdselect_core.live import scoring
from crowdselect_core.reward.base import Scorer
from crowdselect_core.reward.config import ClassifierReward, LikelihoodReward, RewardConfig
from crowdselect_core.reward.conformance import Report, check_conformance
from crowdselect_core.reward.scorers import Resources, scorer_of

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


def check_all(config: SelectConfig, resources: Resources) -> Iterator[str]:
    """Load every reward model that is to score, check it and yield what was found.

    Raises:
        UserError: a reward model that cannot score, or fails the check.
    """
    for reward in scoring(config).scores:
        scorer = scorer_of(reward, resources)
        try:
            scorer.check()
            report = conform(reward, scorer)
        finally:
            scorer.close()
        if report is None:
            yield f"{reward.name}: can be asked; a {reward.kind} has no conformance check"
            continue
        for result in report.results:
            verdict = "passed" if result.passed else "FAILED"
            yield f"{reward.name}: {result.name} {verdict}: {result.found} ({result.expected})"
