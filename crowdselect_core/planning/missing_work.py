"""What the data set lacks of the crowd's answers and scores, and so has to be made."""

from dataclasses import dataclass
from typing import Any

from crowdselect_core.config.crowd import PAPER_EXPECTED, CrowdModel, is_paper
from crowdselect_core.config.engine import SamplingConfig
from crowdselect_core.config.reward import JudgeReward, RewardConfig
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import ConfigError, CrowdError, DatasetError, nearest, shown
from crowdselect_core.generate.identity import cache_spec as answer_cells
from crowdselect_core.ingest.column_layout import has_answers
from crowdselect_core.ingest.flat_columns import SCORE, flat_names
from crowdselect_core.reward.identity import cache_spec as score_cells
from crowdselect_core.stages.partitions import open_dataset
from crowdselect_core.tables import RESPONSES

# What else a model's struct in a zoo, and the table it is made from, hold.
RESERVED = frozenset({"content", "text", *RESPONSES})


@dataclass(frozen=True)
class MissingWork:
    """What has to be made: answers by these models, scores by these reward models."""

    answers: tuple[CrowdModel, ...]
    scores: tuple[RewardConfig, ...]

    def __bool__(self) -> bool:
        return bool(self.answers or self.scores)


def find_missing(config: SelectConfig) -> MissingWork:
    """Find the crowd models without a column and the reward models that are to score.

    Raises:
        CrowdError: a model without a column and without an engine, while others have engines.
        ConfigError: reward models that cannot be: a reserved name, a reference of no crowd model.
    """
    scores = tuple(r for r in config.reward_models if not isinstance(r, str))
    _check_rewards(config, scores)
    if not scores and not any(m.engine for m in config.everyone):
        return MissingWork((), ())  # nothing could be made: the data set is asked for everything
    schema = open_dataset(config).table.schema()
    columns = set(schema.names)
    absent = tuple(m for m in config.everyone if not _has_column(schema, config, m))
    if mute := [m.name for m in absent if m.engine is None]:
        begin = PAPER_EXPECTED if is_paper(config.everyone) else ""
        raise CrowdError(
            f"{begin}{config.dataset.path}: {len(mute)} crowd models have neither a column nor an "
            f"engine: {shown(mute, 3 if begin else 40)}{nearest(mute[0], columns)}; "
            "give them an engine, or correct the names"
        )
    if scores:
        _check_answers(config, schema, absent)
    _check_distinct(absent, scores)
    return MissingWork(absent, scores)


def _has_column(schema: Any, config: SelectConfig, model: CrowdModel) -> bool:
    """Tell whether the data set has a model's answers, or scores where it cannot be asked."""
    if model.name in schema.names or has_answers(schema, model.name, config.dataset.columns):
        return True
    rewards = [r for r in config.reward_models if isinstance(r, str)]
    return model.engine is None and bool(flat_names(schema.names, model.name, [SCORE, *rewards]))


def without_missing(config: SelectConfig, missing: MissingWork) -> SelectConfig:
    """Return the config of what the data set has by itself."""
    absent = {m.name for m in missing.answers}
    crowd = [m for m in config.everyone if m.name not in absent]
    columns = [r for r in config.reward_models if isinstance(r, str)]
    if columns and not crowd:
        raise ConfigError(
            f"reward model {columns[0]!r} is named as a score column, but the data set has no "
            "answers and so no scores; give the reward model a kind (classifier, judge, "
            "likelihood, function)"
        )
    return config.model_copy(update={"crowd": crowd, "reward_models": columns})


def answering(config: SelectConfig) -> MissingWork:
    """Return the models that `generate` asks.

    Raises:
        ConfigError: none has an engine, or the data set has all answers.
    """
    found = find_missing(config).answers
    if not found:
        engines = [m.name for m in config.everyone if m.engine]
        why = "the data set has an answer column of each" if engines else "none has an engine"
        raise ConfigError(f"crowd: nothing to generate, {why}; see docs/live.md")
    return MissingWork(found, ())


def scoring(config: SelectConfig) -> MissingWork:
    """Return the reward models that `score` runs, and the models whose answers it needs first.

    Raises:
        ConfigError: no reward model has a kind, so none scores.
    """
    found = find_missing(config)
    if not found.scores:
        raise ConfigError(
            "reward_models: nothing to score, every one is a column of the data set; give one a "
            "kind (classifier, judge, likelihood, function), see docs/live.md"
        )
    return found


def _check_answers(config: SelectConfig, schema: Any, absent: tuple[CrowdModel, ...]) -> None:
    """Refuse columns of crowd models that hold no answers, where answers are to be scored."""
    for model in config.everyone:
        if model not in absent and not has_answers(schema, model.name, config.dataset.columns):
            raise DatasetError(
                f"{config.dataset.path}: column {model.name!r} holds no answers that could be "
                "scored, expected a struct with the field 'content', or a column of answers such "
                f"as {f'{model.name}_response'!r}"
            )


def _check_distinct(answers: tuple[CrowdModel, ...], scores: tuple[RewardConfig, ...]) -> None:
    """Refuse two models that the store could not tell apart."""
    seen: dict[str, str] = {}
    for model in answers:
        key = answer_cells(model).key
        if key in seen:
            raise CrowdError(
                f"crowd: {seen[key]!r} and {model.name!r} ask the same model in the same way, so "
                "their answers are the same: where two servers use one name for different models, "
                "give each a revision; else leave one out or change its sampling"
            )
        seen[key] = model.name
    for reward in scores:
        key = score_cells(reward).key
        if key in seen:
            raise ConfigError(_alike(seen[key], reward))
        seen[key] = reward.name


def _alike(other: str, reward: RewardConfig) -> str:
    """Say why the scores of two reward models are the same, and how to tell the two apart."""
    both = f"reward_models: {other!r} and {reward.name!r}"
    if not isinstance(reward, JudgeReward):
        return f"{both} score alike; leave one out"
    return (
        f"{both} ask the same model in the same way, so their scores are the same: where two "
        "servers use one name for different models, give each a revision; else leave one out or "
        "change its sampling"
    )


def _check_rewards(config: SelectConfig, scores: tuple[RewardConfig, ...]) -> None:
    names = [m.name for m in config.everyone]
    for reward in scores:
        if reward.name in RESERVED:
            raise ConfigError(
                f"reward_models: the name {reward.name!r} is reserved; choose another"
            )
        wanted = reward.reference_model if isinstance(reward, JudgeReward) else None
        if wanted is not None and wanted not in names:
            raise ConfigError(
                f"reward model {reward.name!r}: reference_model {wanted!r} is not of the crowd"
                f"{nearest(wanted, names)} ({shown(names)})"
            )
        sampling = reward.sampling if isinstance(reward, JudgeReward) else SamplingConfig()
        if sampling.n != 1:
            raise ConfigError(f"reward model {reward.name!r}: a judge returns one verdict; n is 1")
