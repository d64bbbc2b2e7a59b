"""The reward model of the benchmark reward-win-rate, and whether it also made the selection."""

from crowdselect_core.config.benchmarks import RewardWinRateBenchmark
from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.config.reward import FunctionReward, JudgeReward, RewardConfig
from crowdselect_core.errors import ConfigError, nearest, shown
from crowdselect_core.reward.identity import cache_spec


def reward_of(where: str, config: RewardWinRateBenchmark, run: EvaluateConfig) -> RewardConfig:
    """Return the reward model that a benchmark names, or has as a mapping.

    Raises:
        ConfigError: there is none, or it cannot score answers by themselves.
    """
    reward = config.reward_model
    if isinstance(reward, str):
        known = {r.name: r for r in run.reward_models if not isinstance(r, str)}
        if reward not in known:
            raise ConfigError(
                f"{where}: reward_model {reward!r} is none of the reward_models that score "
                f"({shown(known) or 'there are none'}){nearest(reward, known)}; a column of the "
                "data set scores no new answer"
            )
        reward = known[reward]
    if isinstance(reward, JudgeReward) and reward.mode == "pairwise":
        raise ConfigError(
            f"{where}: {reward.name!r} is a judge that compares: take the benchmark pairwise, or "
            "mode: grade"
        )
    if isinstance(reward, FunctionReward) and reward.columns:
        raise ConfigError(
            f"{where}: {reward.name!r} takes the columns {shown(reward.columns)} of the data set, "
            "which the prompts of an evaluation have not; take another reward model"
        )
    return reward


def selects(reward: RewardConfig, run: EvaluateConfig) -> bool:
    """Say whether a reward model, under any name, is one of those that make the selection."""
    if run.dataset is None:
        return False
    selecting = [r for r in run.reward_models if not isinstance(r, str)]
    if reward.name in {r if isinstance(r, str) else r.name for r in run.reward_models}:
        return True
    columns = {_last_part(r) for r in run.reward_models if isinstance(r, str)}
    if columns & ({_last_part(reward.name), _last_part(_model_of(reward))} - {None}):
        return True
    key = cache_spec(reward).key
    return any(r.kind == reward.kind and cache_spec(r).key == key for r in selecting)


def _model_of(reward: RewardConfig) -> str:
    """Return the hub id, folder or served name of what scores; '' where there is none."""
    model = getattr(reward, "model", None) or getattr(
        getattr(reward, "engine", None), "model", None
    )
    return model or ""


def _last_part(model: str) -> str | None:
    """Return the last part of a hub id or a folder, as columns of scores are named; None of ''."""
    return model.rstrip("/").rpartition("/")[2].casefold() or None
