"""What changes a reward model's scores: the part of its config that names a cell."""

from typing import Any

from crowdselect_core.config.engine import VllmEngineConfig
from crowdselect_core.config.reward import (
    ClassifierReward,
    FunctionReward,
    JudgeReward,
    LikelihoodReward,
    RewardConfig,
)
from crowdselect_core.generate.identity import changing_args, engine_identity, sampling_identity
from crowdselect_core.models.hub import model_identity
from crowdselect_core.reward.function.scorer import function_identity
from crowdselect_core.reward.judge.scorer import judge_identity
from crowdselect_core.store.identity import Spec

STAGE, VERSION = "scored", 1


def cache_spec(reward: RewardConfig) -> Spec:
    """Name the cells of a reward model's scores; its name and what runs it are left out.

    Raises:
        ConfigError: its weights or its function are not there.
    """
    return Spec(STAGE, VERSION, {"kind": reward.kind, **_identity(reward)})


def _identity(reward: RewardConfig) -> dict[str, Any]:
    match reward:
        case ClassifierReward() | LikelihoodReward():
            engine = reward.engine if isinstance(reward, ClassifierReward) else None
            served = changing_args(engine) if isinstance(engine, VllmEngineConfig) else {}
            return {
                "weights": model_identity(reward.model, reward.revision),
                "dtype": reward.dtype,
                "max_length": reward.max_length,
                "attn_implementation": reward.attn_implementation,
                "heads": reward.heads if isinstance(reward, ClassifierReward) else None,
            } | ({"args": served} if served else {})
        case JudgeReward():
            return {
                **engine_identity(reward.engine, reward.name, reward.revision),
                **judge_identity(reward),
                "sampling": sampling_identity(reward.sampling),
            }
        case FunctionReward():
            return function_identity(reward)
