"""Which of this machine's devices a task takes: its tags in the UI, and the wait for a free one."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

from crowdselect_core.cluster.serving import host_of
from crowdselect_core.config.crowd import CrowdModel
from crowdselect_core.config.engine import (
    EngineConfig,
    OpenAIEngineConfig,
    TransformersEngineConfig,
    VllmEngineConfig,
)
from crowdselect_core.config.executor import ExecutorConfig
from crowdselect_core.config.reward import RewardConfig
from crowdselect_core.generate.vllm.host import Host
from crowdselect_core.models.devices import Devices, visible_gpus
from crowdselect_core.util.once import Once
from tasks import cancellation

HERE = ExecutorConfig()  # this process

_machine = Once(lambda: Devices(visible_gpus()))
_own: ContextVar[Devices | None] = ContextVar("own_devices", default=None)


def tags(owner: CrowdModel | RewardConfig, executor: ExecutorConfig = HERE) -> list[str]:
    """Return the tags of a model's task: its engine, and `gpu` where it takes this machine's."""
    engine = getattr(owner, "engine", None)
    kind = engine.kind if engine is not None else "local"
    here = _takes_devices(owner) and host(executor, owner) is None
    return [f"engine-{kind}", *(_gpu_tags() if here else [])]


def engine_tags(engine: EngineConfig) -> list[str]:
    """Return the tags of an engine's task: its kind, and `gpu` where it takes this machine's."""
    local = not isinstance(engine, OpenAIEngineConfig)
    return [f"engine-{engine.kind}", *(_gpu_tags() if local else [])]


def device_tags() -> list[str]:
    """Return the tags of a task that takes one of this machine's devices."""
    return ["engine-local", *_gpu_tags()]


def host(executor: ExecutorConfig, owner: CrowdModel | RewardConfig) -> Host | None:
    """Return what runs the vLLM servers of a model; None: this machine."""
    return host_of(executor, getattr(owner, "engine", None))


def lent(
    owner: CrowdModel | RewardConfig, elsewhere: Host | None = None
) -> AbstractContextManager[list[str]]:
    """Wait for the devices that a model of this machine needs; elsewhere it needs none here."""
    if elsewhere is not None or not _takes_devices(owner):
        return nullcontext([])
    return lent_to_engine(getattr(owner, "engine", None), owner.name)


def lent_to_engine(engine: EngineConfig | None, name: str) -> AbstractContextManager[list[str]]:
    """Wait for the devices that an engine takes; an endpoint needs none, a model by itself one."""
    if isinstance(engine, OpenAIEngineConfig):
        return nullcontext([])
    if isinstance(engine, VllmEngineConfig):
        return some_devices(engine.gpus, name)
    return one_device(name)


def one_device(name: str) -> AbstractContextManager[list[str]]:
    """Wait for one of this machine's GPUs; without any, for its processor."""
    return some_devices(1, name)


def some_devices(gpus: int, name: str) -> AbstractContextManager[list[str]]:
    """Wait for so many of this machine's GPUs; without any, for its processor."""
    return _devices().lent(gpus, name, cancellation.check)


def gpus() -> int:
    """Return how many GPUs this machine lends."""
    return len(_machine().gpus)


@contextmanager
def own_devices(gpus: int, name: str) -> Iterator[None]:
    """Lend so many GPUs to what the block runs, which sees these alone; without GPUs nothing.

    Without GPUs all blocks share the processor's one slot: trainings in one process would mix their
    random draws.

    Raises:
        ConfigError: there are not so many.
    """
    if not _machine().gpus:
        yield
        return
    with _machine().lent(gpus, name, cancellation.check) as lent:
        token = _own.set(Devices(lent))
        try:
            yield
        finally:
            _own.reset(token)


def _takes_devices(owner: CrowdModel | RewardConfig) -> bool:
    engine = getattr(owner, "engine", None)
    runs_here = isinstance(engine, TransformersEngineConfig | VllmEngineConfig)
    return runs_here or getattr(owner, "model", None) is not None


def _gpu_tags() -> list[str]:
    """Return the tag of a task that takes a GPU, where there is one to take."""
    return ["gpu"] if _devices().gpus else []


def _devices() -> Devices:
    """Return the devices of this run's cell, else the machine's."""
    return _own.get() or _machine()
