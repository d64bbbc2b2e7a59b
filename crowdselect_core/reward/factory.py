"""From a config to the reward model that scores, and the check before a long job."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from crowdselect_core.config.engine import VllmEngineConfig
from crowdselect_core.config.reward import (
    ClassifierReward,
    FunctionReward,
    JudgeReward,
    LikelihoodReward,
    RewardConfig,
)
from crowdselect_core.generate.base import never
from crowdselect_core.generate.factory import Secret, open_engine
from crowdselect_core.generate.vllm.host import Host
from crowdselect_core.models.devices import torch_device
from crowdselect_core.reward.base import Scorer

Placed = TypeVar("Placed", ClassifierReward, LikelihoodReward)


@dataclass(frozen=True)
class Resources:
    """What a scorer may need beside its config.

    Args:
        secret: from a block's name to what it holds.
        gpus: those of this machine that it may use.
        stopped: says whether the run is to stop.
        host: what runs its vLLM servers; this machine where None.
    """

    secret: Secret
    gpus: Sequence[str] = ()
    stopped: Callable[[], bool] = never
    host: Host | None = None


def scorer_of(reward: RewardConfig, resources: Resources) -> Scorer:
    """Return the scorer of a config; nothing is loaded, started or asked yet.

    Raises:
        ConfigError: see the scorers.
    """
    match reward:
        case ClassifierReward() if isinstance(reward.engine, VllmEngineConfig):
            from crowdselect_core.generate.vllm.this_machine import ThisMachine
            from crowdselect_core.reward.classifier.vllm_scorer import ManagedClassifier

            managed = ManagedClassifier(reward, resources.host or ThisMachine(resources.gpus))
            managed.stopped = resources.stopped
            return managed
        case ClassifierReward():
            from crowdselect_core.reward.classifier.scorer import ClassifierScorer

            return ClassifierScorer(_placed(reward, resources))
        case LikelihoodReward():
            from crowdselect_core.reward.likelihood import LikelihoodScorer

            return LikelihoodScorer(_placed(reward, resources))
        case JudgeReward():
            from crowdselect_core.reward.judge.scorer import JudgeScorer

            engine = open_engine(
                reward.name, reward.engine, reward.sampling, reward.chat_template_kwargs,
                reward.revision, resources.secret, resources.gpus, host=resources.host,
            )  # fmt: skip
            engine.stopped = resources.stopped
            return JudgeScorer(reward, engine)
        case FunctionReward():
            from crowdselect_core.reward.function.scorer import FunctionScorer

            return FunctionScorer(reward)


def _placed(reward: Placed, resources: Resources) -> Placed:
    """Return the config with the device that was lent, where it names none."""
    device = reward.device or torch_device(resources.gpus)
    return reward.model_copy(update={"device": device})
