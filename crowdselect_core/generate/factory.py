"""From a config to the engine that answers."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from crowdselect_core.config.crowd import CrowdModel
from crowdselect_core.config.engine import (
    EngineConfig,
    OpenAIEngineConfig,
    SamplingConfig,
    TransformersEngineConfig,
    VllmEngineConfig,
)
from crowdselect_core.errors import CrowdError, UserError
from crowdselect_core.generate.base import Engine
from crowdselect_core.generate.vllm.host import Host
from crowdselect_core.models.devices import torch_device

Secret = Callable[[str], str]  # from a block's name to what it holds


def open_engine(
    name: str,
    engine: EngineConfig,
    sampling: SamplingConfig,
    chat_template_kwargs: Mapping[str, Any],
    revision: str | None,
    secret: Secret,
    gpus: Sequence[str] = (),
    adapter: Path | None = None,
    host: Host | None = None,
) -> Engine:
    """Return the engine of a config; nothing is loaded, started or asked yet.

    Args:
        name: of the model, for messages.
        engine: what runs it.
        sampling: how answers are drawn.
        chat_template_kwargs: given to the chat template.
        revision: commit, tag or branch of a hub id.
        secret: from a block's name to what it holds.
        gpus: the GPUs that it may use.
        adapter: folder of a LoRA adapter that a vLLM server serves.
        host: what runs its vLLM servers; this machine where None.

    Raises:
        ConfigError: an environment variable with a key is not set.
    """
    match engine:
        case OpenAIEngineConfig():
            from crowdselect_core.generate.openai.engine import OpenAIEngine

            key = partial(secret, engine.api_key_block) if engine.api_key_block else None
            return OpenAIEngine(name, engine, sampling, chat_template_kwargs, api_key=key)
        case VllmEngineConfig():
            from crowdselect_core.generate.vllm.engine import VllmEngine
            from crowdselect_core.generate.vllm.this_machine import ThisMachine

            return VllmEngine(
                name, engine, sampling, chat_template_kwargs, revision=revision,
                host=host or ThisMachine(gpus), adapter=adapter,
            )  # fmt: skip
        case TransformersEngineConfig():
            from crowdselect_core.generate.transformers.engine import TransformersEngine

            here = engine.model_copy(update={"device": engine.device or torch_device(gpus)})
            return TransformersEngine(name, here, sampling, chat_template_kwargs, revision=revision)


def engine_of(
    model: CrowdModel, secret: Secret, gpus: Sequence[str] = (), host: Host | None = None
) -> Engine:
    """Return the engine of a crowd model; raises as `open_engine` does."""
    if model.engine is None:
        raise CrowdError(f"crowd model {model.name!r} has no engine: say what answers for it")
    return open_engine(
        model.name, model.engine, model.sampling, model.chat_template_kwargs, model.revision,
        secret, gpus, host=host,
    )  # fmt: skip


def check_all(engines: Mapping[str, Engine]) -> None:
    """Check all engines at once, so that the slowest decides how long it takes.

    Raises:
        UserError: the first complaint, in name order.
    """
    with ThreadPoolExecutor(max(len(engines), 1), thread_name_prefix="check") as pool:
        checks = {name: pool.submit(engine.check) for name, engine in sorted(engines.items())}
    complaints = [c.exception() for c in checks.values() if c.exception() is not None]
    for complaint in sorted(complaints, key=lambda c: not isinstance(c, UserError)):
        if complaint is not None:
            raise complaint
