"""A classifier on a vLLM server that the run starts, restarts where it dies, and ends."""

from collections.abc import Callable, Iterator
from math import ceil

from crowdselect_core.config.engine import VllmEngineConfig
from crowdselect_core.config.reward import ClassifierReward
from crowdselect_core.errors import ConfigError
from crowdselect_core.generate.base import never
from crowdselect_core.generate.vllm.command import option_words
from crowdselect_core.generate.vllm.host import Client, Host, Kept, Launch, Served
from crowdselect_core.generate.vllm.this_machine import ThisMachine
from crowdselect_core.models.causal_lm import positions
from crowdselect_core.models.hub import local_folder
from crowdselect_core.reward.base import Item, Score
from crowdselect_core.reward.classifier import adapters
from crowdselect_core.reward.classifier.vllm_client import ServedScorer

NO_SERVER = "http://127.0.0.1:9"  # while none is started: nothing is asked of it


class ManagedClassifier:
    """A reward model whose vLLM servers are started by the first `run` and ended by `close`."""

    def __init__(self, config: ClassifierReward, host: Host | None = None) -> None:
        """Read the model's config and tokenizer; no server is started.

        Args:
            config: of the reward model; its engine is a VllmEngineConfig.
            host: what runs its servers; this machine, with all of its GPUs, where None.

        Raises:
            ConfigError: the model is none that is served so, or its engine contradicts it.
        """
        self._config = config
        self._host: Host = host or ThisMachine()
        self._subject = f"reward model {config.name!r}"
        self._engine = _engine_of(config)
        self.heads = ServedScorer(config, NO_SERVER).heads
        self.stopped: Callable[[], bool] = never
        self._kept: Kept[Item, Score] = self._host.kept(config.name, self._launch, self._client)

    def check(self) -> None:
        """Check that vLLM and the model are there; no server is started.

        Raises:
            ConfigError: they are not.
        """
        self._host.check(self._subject, self._launch_with())

    def run(self, items: Iterator[Item], done: Callable[[Score], None]) -> None:
        """Score every item; the servers stay for the next run, and are gone when this raises.

        Raises:
            ConfigError: a server cannot be started, or gives no raw scores.
            EngineDown: one died more often than it is started again.
            Stopped: `stopped` said so.
        """
        self._kept.run(items, done, lambda: self.stopped())

    def close(self) -> None:
        """End the servers; a later `run` starts them again."""
        self._kept.close()

    def _launch(self) -> Launch:
        return self._launch_with("--runner", "pooling", *self._length())

    def _launch_with(self, *extra: str) -> Launch:
        own = self._config
        return Launch(own.name, self._engine, own.model, own.revision, extra)

    def _client(self, server: Served, stopped: Callable[[], bool]) -> Client[Item, Score]:
        """Return what asks a server that is ready, once it has shown that its scores are raw."""
        share = ceil(self._engine.concurrency / self._host.servers(self._engine))
        engine = self._engine.model_copy(update={"concurrency": share})
        config = self._config.model_copy(update={"engine": engine})
        scorer = ServedScorer(config, server.base_url, server.api_key)
        scorer.stopped = stopped
        scorer.check()
        return scorer.run

    def _length(self) -> list[str]:
        """Return the option that keeps the server's memory to pairs of max_length tokens."""
        folder = local_folder(self._config.model)
        own = positions(
            adapters.load_config(
                str(folder or self._config.model),
                {
                    "revision": None if folder else self._config.revision,
                    "trust_remote_code": self._config.trust_remote_code,
                    "local_files_only": folder is not None,
                },
            )
        )
        wanted = self._config.max_length
        return ["--max-model-len", str(wanted)] if own is not None and own > wanted else []


def _engine_of(config: ClassifierReward) -> VllmEngineConfig:
    """Return the engine with what the reward model says of its weights.

    Raises:
        ConfigError: the engine says something else, or an option in `args` cannot be.
    """
    where, engine = f"reward model {config.name!r}", config.engine
    if not isinstance(engine, VllmEngineConfig):
        raise ConfigError(f"{where}: engine kind is {engine.kind}, expected vllm")
    option_words(engine.args)
    if engine.model not in (None, config.model):
        raise ConfigError(f"{where}: engine.model contradicts model: leave engine.model out")
    if engine.dtype not in ("auto", config.dtype):
        raise ConfigError(
            f"{where}: engine.dtype {engine.dtype} contradicts dtype {config.dtype}: set dtype of "
            "the reward model, and leave engine.dtype out"
        )
    if engine.quantization is not None:
        raise ConfigError(
            f"{where}: engine.quantization changes scores and is no part of a reward model's "
            "identity: leave it out, or name a model that is stored quantized"
        )
    trusted = config.trust_remote_code or engine.trust_remote_code
    return engine.model_copy(update={"dtype": config.dtype, "trust_remote_code": trusted})
