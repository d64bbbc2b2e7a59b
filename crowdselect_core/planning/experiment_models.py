"""Which models an experiment runs on its machines, and which it asks, over all of its cells."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from crowdselect_core.annotate.base import Annotator
from crowdselect_core.annotate.factory import annotates, kind_of
from crowdselect_core.config.benchmarks import RewardWinRateBenchmark
from crowdselect_core.config.engine import EngineConfig, OpenAIEngineConfig
from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.config.evaluation import EvaluationConfig
from crowdselect_core.config.finetune import TrainingConfig
from crowdselect_core.config.reward import JudgeReward, RewardConfig
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.evaluate.judging.judge import judge_engine
from crowdselect_core.experiment.cells import Cell
from crowdselect_core.generate.base import Engine
from crowdselect_core.generate.factory import Secret, engine_of
from crowdselect_core.planning.missing_work import find_missing
from crowdselect_core.reward.base import Scorer
from crowdselect_core.reward.factory import Resources, scorer_of
from crowdselect_core.stages.select.method_identity import needs_vectors


@dataclass(frozen=True)
class Local:
    """A model that runs here.

    Args:
        name: folder or hub id.
        revision: commit, tag or branch of a hub id.
        use: what it is for.
    """

    name: str
    revision: str | None
    use: str


@dataclass(frozen=True)
class Asked:
    """A model behind an endpoint.

    Args:
        name: what it is for, and its name.
        check: asks the endpoint; raises a UserError where it does not answer.
    """

    name: str
    check: Callable[[], None]


def trainings(cells: Sequence[Cell]) -> list[TrainingConfig]:
    """Return the different trainings, seeds aside."""
    trained = [c.config.training for c in cells if c.trains and c.config.training is not None]
    return list({repr(t): t for t in trained}.values())


def local_models(config: SelectConfig, cells: Sequence[Cell]) -> list[Local]:
    """Return every model that runs here, each once.

    Args:
        config: resolved; of the experiment.
        cells: of its grid.
    """
    found = [Local(t.base_model, t.revision, "base model") for t in trainings(cells)]
    for cell in cells:
        found += _of_choice(cell.config) if cell.chooses else []
        found += _of_evaluation(cell.config)
    found += [one for reward in config.reward_models for one in _of_reward(reward)]
    for member in config.everyone:
        found += _of_engine(member.engine, member.revision, "crowd model")
    return list(dict.fromkeys(found))


def asked_models(config: SelectConfig, cells: Sequence[Cell], secret: Secret) -> list[Asked]:
    """Return every model behind an endpoint that the experiment asks, each once.

    Those of the crowd and of reward models count where answers or scores are missing.

    Args:
        config: resolved; of the experiment.
        cells: of its grid.
        secret: from a block's name to the key that it holds.
    """
    missing, resources = find_missing(config), Resources(secret)
    found: dict[str, Asked] = {}
    for member in missing.answers:
        if isinstance(member.engine, OpenAIEngineConfig):
            ask = partial(_ask, partial(engine_of, member, secret))
            found[repr(member)] = Asked(f"crowd model {member.name}", ask)
    rewards: list[str | RewardConfig] = [*missing.scores]
    for evaluation in _evaluations(cells):
        rewards += [benchmark.reward_model for benchmark in _win_rates(evaluation)]
        for judge in evaluation.judges:
            if isinstance(judge.engine, OpenAIEngineConfig):
                ask = partial(_ask, partial(judge_engine, judge, secret))
                found[repr(judge)] = Asked(f"judge {judge.name}", ask)
    for reward in rewards:
        if isinstance(reward, JudgeReward) and isinstance(reward.engine, OpenAIEngineConfig):
            ask = partial(_ask, partial(scorer_of, reward, resources))
            found[repr(reward)] = Asked(f"reward model {reward.name}", ask)
    for cell in cells:
        own = cell.config
        if not cell.chooses or not annotates(own):
            continue
        kind = kind_of(own)
        engine = kind.engine(own)
        if isinstance(engine, OpenAIEngineConfig):
            ask = partial(_ask, partial(kind.open, own, resources))
            found[repr((own.method, engine))] = Asked(f"model of the method {own.method}", ask)
    return list(found.values())


def _evaluations(cells: Sequence[Cell]) -> Iterator[EvaluationConfig]:
    for cell in cells:
        if isinstance(cell.config, EvaluateConfig) and cell.config.evaluation is not None:
            yield cell.config.evaluation


def _win_rates(evaluation: EvaluationConfig) -> list[RewardWinRateBenchmark]:
    return [b for b in evaluation.benchmarks if isinstance(b, RewardWinRateBenchmark)]


def _of_choice(config: SelectConfig) -> Iterator[Local]:
    embedder = config.embedder
    embeds = config.clusters > 1 or needs_vectors(config.method)
    if embeds and embedder.kind == "sentence-transformers":
        yield Local(str(embedder.model), embedder.revision, "embedder")
    if annotates(config):
        kind = kind_of(config)
        use = f"model of the method {config.method}"
        local = kind.local(config) if kind.local is not None else None
        if local is not None and local.model is not None:
            yield Local(local.model, local.revision, use)
        yield from _of_engine(kind.engine(config), None, use)


def _of_evaluation(config: SelectConfig) -> Iterator[Local]:
    evaluation = config.evaluation if isinstance(config, EvaluateConfig) else None
    if evaluation is None:
        return
    for model in evaluation.models:
        if not isinstance(model.engine, OpenAIEngineConfig):
            told = model.engine.model if model.engine is not None else None
            yield Local(told or model.model or model.name, model.revision, "evaluated model")
    for judge in evaluation.judges:
        yield from _of_engine(judge.engine, judge.revision, "judge")
    for benchmark in _win_rates(evaluation):
        yield from _of_reward(benchmark.reward_model)


def _of_reward(reward: str | RewardConfig) -> Iterator[Local]:
    model = getattr(reward, "model", None)
    if model is not None:
        yield Local(str(model), getattr(reward, "revision", None), "reward model")
    if isinstance(reward, JudgeReward):
        yield from _of_engine(reward.engine, reward.revision, "reward model")


def _of_engine(engine: EngineConfig | None, revision: str | None, use: str) -> Iterator[Local]:
    if engine is not None and not isinstance(engine, OpenAIEngineConfig) and engine.model:
        yield Local(engine.model, revision, use)


def _ask(opened: Callable[[], Engine | Scorer | Annotator]) -> None:
    """Open what asks an endpoint, and have it check that this answers."""
    model = opened()
    try:
        model.check()
    finally:
        model.close()
