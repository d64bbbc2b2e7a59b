"""The engine of a model of an evaluation: its own, evaluation.engine, or what is here."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from importlib.util import find_spec
from pathlib import Path

from crowdselect_core.config.engine import (
    EngineConfig,
    OpenAIEngineConfig,
    SamplingConfig,
    TransformersEngineConfig,
    VllmEngineConfig,
)
from crowdselect_core.config.evaluation import EvaluationConfig
from crowdselect_core.errors import ConfigError
from crowdselect_core.evaluate.candidates import Candidate, opened
from crowdselect_core.evaluate.live import Tools
from crowdselect_core.generate.base import Engine
from crowdselect_core.generate.factory import open_engine

OpenEngine = Callable[[], Engine]
SAMPLING = SamplingConfig()


def engine_config(model: Candidate, evaluation: EvaluationConfig) -> EngineConfig:
    """Return what runs a model: its own engine, evaluation.engine, else vLLM or transformers."""
    engine = model.engine or evaluation.engine
    if engine is not None:
        return engine
    if find_spec("vllm") is not None:
        return VllmEngineConfig(kind="vllm")
    return TransformersEngineConfig(kind="transformers")


@contextmanager
def lazily(model: Candidate, tools: Tools) -> Iterator[OpenEngine]:
    """Give what opens a model's engine, on its first call; at the end it is closed."""
    with ExitStack() as stack:
        made: list[Engine] = []

        def engine() -> Engine:
            if not made:
                made.append(stack.enter_context(running(model, tools)))
            return made[0]

        yield engine


@contextmanager
def running(
    model: Candidate, tools: Tools, sampling: SamplingConfig = SAMPLING
) -> Iterator[Engine]:
    """Open a model's engine while the block runs.

    Args:
        model: what answers.
        tools: of the run; they lend the device.
        sampling: what requests do not set of themselves.

    Raises:
        UserError: the model cannot be run.
    """
    config = engine_config(model, tools.evaluation)
    with ExitStack() as stack:
        gpus = stack.enter_context(tools.lent(config, model.name))
        tools.check()  # it may have waited long for its device
        revision = revision_of(model)
        adapter: Path | None = None
        if not isinstance(config, OpenAIEngineConfig):
            served = model.base if is_served(model, config, tools) else None
            source = stack.enter_context(opened(model, tools.store, merged=served is None))
            if served is not None:
                source, adapter = served, Path(source.model)
            config = config.model_copy(update={"model": source.model})
            revision = source.revision
        engine = open_engine(
            model.name, config, sampling, model.chat_template_kwargs, revision,
            tools.secret, gpus, adapter,
        )  # fmt: skip
        engine.stopped = tools.stopped
        yield stack.enter_context(closing(engine))


def revision_of(model: Candidate) -> str | None:
    """Return the commit, tag or branch of what a model is."""
    return model.source.revision if model.source else model.revision


def is_served(model: Candidate, config: EngineConfig, tools: Tools) -> bool:
    """Tell whether an adapter is served by vLLM as LoRA.

    Raises:
        ConfigError: it is to be, and another engine runs it.
    """
    if tools.evaluation.adapter == "merge" or model.base is None:
        return False
    if not isinstance(config, VllmEngineConfig):
        raise ConfigError(
            f"model {model.name!r}: evaluation.adapter: lora needs the engine vllm, found "
            f"{config.kind}; set adapter: merge"
        )
    return True
