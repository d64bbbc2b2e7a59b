"""Whether the models that still have to answer can be run, found out before anything is trained."""

from collections.abc import Collection, Sequence
from importlib.util import find_spec

from crowdselect_core.config.engine import EngineConfig, OpenAIEngineConfig, SamplingConfig
from crowdselect_core.config.reward import JudgeReward
from crowdselect_core.errors import ConfigError
from crowdselect_core.evaluate.benchmarks.reward_win_rate import RewardWinRate
from crowdselect_core.evaluate.candidate_engine import engine_config, is_served
from crowdselect_core.evaluate.candidates import Candidate, base_of
from crowdselect_core.evaluate.live import Benchmark, Tools
from crowdselect_core.evaluate.sources import Source
from crowdselect_core.generate.base import Engine
from crowdselect_core.generate.factory import open_engine
from crowdselect_core.reward.base import Scorer
from crowdselect_core.reward.factory import Resources, scorer_of
from crowdselect_core.util.extras import install


def engines(models: Sequence[Candidate], asked: Collection[str], tools: Tools) -> dict[str, Engine]:
    """Return the engines of the models that have to answer; nothing is loaded, started or asked.

    A model that is still to be trained, or lies in the store, is looked up as its base model: the
    same engine runs both.

    Args:
        models: all, with the one that is to be trained.
        asked: names of those that have to answer.
        tools: of the run.

    Raises:
        ConfigError: a key is not there, or an adapter can be neither served nor merged.
    """
    found: dict[str, Engine] = {}
    base = base_of(models)
    for model in models:
        if model.name not in asked:
            continue
        config, revision = engine_config(model, tools.evaluation), None
        if not isinstance(config, OpenAIEngineConfig):
            _check_adapter(model, base, config, tools)
            source: Source | None = model.base or model.source or (base.source if base else None)
            if source is None:
                continue
            config = config.model_copy(update={"model": source.model})
            revision = source.revision
        found[model.name] = open_engine(
            model.name, config, SamplingConfig(), model.chat_template_kwargs, revision, tools.secret
        )
    return found


def graders(
    benchmarks: Sequence[Benchmark], asked: Collection[str], tools: Tools
) -> dict[str, Scorer]:
    """Return the judges that grade as reward models; nothing is asked.

    Args:
        benchmarks: of the evaluation.
        asked: names of the benchmarks whose grades are not all stored.
        tools: of the run.

    Raises:
        ConfigError: a key is not there.
    """
    return {
        b.name: scorer_of(b.reward, Resources(tools.secret))
        for b in benchmarks
        if isinstance(b, RewardWinRate) and isinstance(b.reward, JudgeReward) and b.name in asked
    }


def _check_adapter(
    model: Candidate, base: Candidate | None, config: EngineConfig, tools: Tools
) -> None:
    """Refuse an adapter, or a model that will be one, that its engine or this place cannot run."""
    training = tools.config.training
    if model.is_pending and base is not None and training is not None and training.peft is not None:
        model = model.model_copy(update={"base": base.source})
    if not model.is_adapter or is_served(model, config, tools) or find_spec("peft") is not None:
        return
    raise ConfigError(
        f"model {model.name!r} is a LoRA adapter, and peft, which merges it, is not installed: "
        f"{install('finetune')}"
    )
