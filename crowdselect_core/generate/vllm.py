"""A crowd model on a vLLM server that the run starts, restarts where it dies, and ends."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from crowdselect_core.generate.base import Answer, EngineDown, Request, never
from crowdselect_core.generate.config import (
    OpenAIEngineConfig,
    SamplingConfig,
    VllmEngineConfig,
)
from crowdselect_core.generate.openai import OpenAIEngine
from crowdselect_core.generate.restarts import Work
from crowdselect_core.generate.server import VllmServer, new_log
from crowdselect_core.generate.vllm_command import find_model, interpreter, option_words

RETRIES = 1  # of one request by its client: a server that died is started again instead

log = logging.getLogger("crowdselect")


class VllmEngine:
    """A crowd model that a vLLM server of this machine answers for, while a run lasts.

    Requests that a dying server takes with it are asked again of the next one, so that every
    request is answered once. In bfloat16 and float16 the requests that are computed together move
    near ties, also at temperature 0.
    """

    def __init__(
        self,
        name: str,
        config: VllmEngineConfig,
        sampling: SamplingConfig,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        *,
        revision: str | None = None,
        gpus: Sequence[str] = (),
        log_folder: Path | None = None,
    ) -> None:
        """Keep the config; every `run` starts a server.

        Args:
            name: of the model, for messages; its folder or hub id where the config names none.
            config: how the server is run.
            sampling: how answers are drawn.
            chat_template_kwargs: given to the chat template.
            revision: commit, tag or branch of a hub id.
            gpus: the GPUs that the server may see; all of the run's where empty.
            log_folder: where its log goes; among the temporary files where empty.

        Raises:
            ConfigError: an option in `args` that cannot be.
        """
        self._name, self._config = name, config
        self._sampling, self._kwargs = sampling, dict(chat_template_kwargs or {})
        self._model, self._revision = config.model or name, revision
        self._gpus, self._log_folder = tuple(gpus), log_folder
        self._subject = f"model {name!r}"
        option_words(config.args)
        exact = config.dtype == "float32"
        noise = f"{self._subject}: in dtype {config.dtype} requests in one batch can move near ties"
        self.limits: tuple[str, ...] = () if exact else (noise,)
        self.stopped: Callable[[], bool] = never

    def check(self) -> None:
        """Check that vLLM and the model are there; no server is started.

        Raises:
            ConfigError: they are not.
        """
        interpreter(self._subject, self._config)
        find_model(self._subject, self._model, self._revision)

    def run(self, requests: Iterator[Request], done: Callable[[Answer], None]) -> None:
        """Answer every request; the server is gone when this returns or raises.

        Raises:
            ConfigError: the server cannot be started.
            EngineDown: it died more often than it is started again.
            Stopped: `stopped` said so.
        """
        first = next(requests, None)
        if first is None:
            return
        place = new_log(self._name, self._log_folder)
        log.info("%s: starting vLLM; its log is %s", self._subject, place)
        work: Work[Request, Answer] = Work(chain([first], requests), done)
        for start in range(self._config.restarts + 1):
            server = self._server(place)
            with server:
                server.ready(again=start > 0, stopped=self.stopped)
                self._ask(server, work)
            if work.complete:
                return
            log.warning(
                "%s died (exit code %s) with %d requests on their way; log: %s",
                server.subject, server.exit_code, work.lost, place,
            )  # fmt: skip
        raise EngineDown(
            f"{server.subject} died {self._config.restarts + 1} times (restarts: "
            f"{self._config.restarts}), at last with exit code {server.exit_code}: "
            f"{server.last_words()}"
        )

    def close(self) -> None:
        """Hold nothing: the server ends with each run."""

    def _server(self, place: Path) -> VllmServer:
        return VllmServer(
            self._name,
            self._config,
            model=self._model,
            revision=self._revision,
            gpus=self._gpus,
            log=place,
        )

    def _ask(self, server: VllmServer, work: Work[Request, Answer]) -> None:
        """Ask the server what is left, until all is answered or it is dead."""
        client = OpenAIEngine(
            self._name,
            OpenAIEngineConfig(
                kind="openai",
                base_url=[f"{server.base_url}/v1"],
                model=server.model,
                concurrency=self._config.concurrency,
                timeout=self._config.timeout,
                max_retries=RETRIES,
            ),
            self._sampling,
            self._kwargs,
            api_key=server.api_key,
        )
        client.stopped = self.stopped
        work.ask(client.run, server.down)
