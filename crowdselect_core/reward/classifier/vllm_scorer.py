"""A classifier on a vLLM server that the run starts, restarts where it dies, and ends."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from crowdselect_core.config.engine import VllmEngineConfig
from crowdselect_core.config.reward import ClassifierReward
from crowdselect_core.errors import ConfigError
from crowdselect_core.generate.base import never
from crowdselect_core.generate.vllm.command import find_model, interpreter, option_words
from crowdselect_core.generate.vllm.restarting_server import Client, KeptServer
from crowdselect_core.generate.vllm.server import VllmServer
from crowdselect_core.models.causal_lm import positions
from crowdselect_core.models.hub import local_folder
from crowdselect_core.reward.base import Item, Score
from crowdselect_core.reward.classifier import adapters
from crowdselect_core.reward.classifier.vllm_client import ServedScorer

NO_SERVER = "http://127.0.0.1:9"  # while none is started: nothing is asked of it


class ManagedClassifier:
    """A reward model whose vLLM server is started by the first `run` and ended by `close`."""

    def __init__(
        self,
        config: ClassifierReward,
        *,
        gpus: Sequence[str] = (),
        log_folder: Path | None = None,
    ) -> None:
        """Read the model's config and tokenizer; no server is started.

        Args:
            config: of the reward model; its engine is a VllmEngineConfig.
            gpus: the GPUs that the server may see; all of the run's where empty.
            log_folder: where its log goes; among the temporary files where empty.

        Raises:
            ConfigError: the model is none that is served so, or its engine contradicts it.
        """
        self._config, self._gpus = config, tuple(gpus)
        self._subject = f"reward model {config.name!r}"
        self._engine = _engine_of(config)
        self.heads = ServedScorer(config, NO_SERVER).heads
        self.stopped: Callable[[], bool] = never
        self._kept: KeptServer[Item, Score] = KeptServer(
            config.name, self._server, self._client,
            restarts=self._engine.restarts, log_folder=log_folder,
        )  # fmt: skip

    def check(self) -> None:
        """Check that vLLM and the model are there; no server is started.

        Raises:
            ConfigError: they are not.
        """
        interpreter(self._subject, self._engine)
        find_model(self._subject, self._config.model, self._config.revision)

    def run(self, items: Iterator[Item], done: Callable[[Score], None]) -> None:
        """Score every item; the server stays for the next run, and is gone when this raises.

        Raises:
            ConfigError: the server cannot be started, or gives no raw scores.
            EngineDown: it died more often than it is started again.
            Stopped: `stopped` said so while the server was starting.
        """
        self._kept.run(items, done, self.stopped)

    def close(self) -> None:
        """End the server; a later `run` starts it again."""
        self._kept.close()

    def _server(self, place: Path) -> VllmServer:
        return VllmServer(
            self._config.name,
            self._engine,
            model=self._config.model,
            revision=self._config.revision,
            gpus=self._gpus,
            log=place,
            extra=["--runner", "pooling", *self._length()],
        )

    def _client(self, server: VllmServer) -> Client[Item, Score]:
        """Return what asks a server that is ready, once it has shown that its scores are raw."""
        scorer = ServedScorer(self._config, server.base_url, server.api_key)
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
