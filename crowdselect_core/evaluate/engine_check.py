"""Whether the models that still have to answer can be run, found out before anything is trained."""

from collections.abc import Collection, Sequence

from crowdselect_core.config.engine import OpenAIEngineConfig, SamplingConfig
from crowdselect_core.evaluate.answers import engine_config
from crowdselect_core.evaluate.candidates import Candidate, base_of
from crowdselect_core.evaluate.live import Tools
from crowdselect_core.evaluate.sources import Source
from crowdselect_core.generate.base import Engine
from crowdselect_core.generate.factory import open_engine


def engines(models: Sequence[Candidate], asked: Collection[str], tools: Tools) -> dict[str, Engine]:
    """Return the engines of the models that have to answer; nothing is loaded, started or asked.

    A model that is still to be trained, or lies in the store, is looked up as its base model: the
    same engine runs both.

    Args:
        models: all, with the one that is to be trained.
        asked: names of those that have to answer.
        tools: of the run.

    Raises:
        ConfigError: a key is not there.
    """
    found: dict[str, Engine] = {}
    base = base_of(models)
    for model in models:
        if model.name not in asked:
            continue
        config, revision = engine_config(model, tools.evaluation), None
        if not isinstance(config, OpenAIEngineConfig):
            source: Source | None = model.base or model.source or (base.source if base else None)
            if source is None:
                continue
            config = config.model_copy(update={"model": source.model})
            revision = source.revision
        found[model.name] = open_engine(
            model.name, config, SamplingConfig(), model.chat_template_kwargs, revision, tools.secret
        )
    return found
