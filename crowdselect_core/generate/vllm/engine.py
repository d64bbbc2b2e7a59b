"""A model on vLLM servers that the run starts, restarts where they die, and ends."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any

from crowdselect_core.config.engine import OpenAIEngineConfig, SamplingConfig, VllmEngineConfig
from crowdselect_core.generate.base import Answer, Request, never
from crowdselect_core.generate.in_flight import InFlight
from crowdselect_core.generate.openai.engine import OpenAIEngine
from crowdselect_core.generate.vllm.command import (
    ADAPTER,
    SERVED_NAME,
    lacks_template,
    lora_words,
    option_words,
)
from crowdselect_core.generate.vllm.host import Client, Host, Kept, Launch, Served
from crowdselect_core.generate.vllm.this_machine import ThisMachine
from crowdselect_core.models.chat_templates import PLAIN_STOP, PLAIN_TEMPLATE

RETRIES = 1  # of one request by its client: a server that died is started again instead


class VllmEngine:
    """A model whose vLLM servers are started by the first `run` and ended by `close`.

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
        host: Host | None = None,
        adapter: Path | None = None,
    ) -> None:
        """Keep the config; no server is started.

        Args:
            name: of the model, for messages; its folder or hub id where the config names none.
            config: how the server is run.
            sampling: how answers are drawn.
            chat_template_kwargs: given to the chat template.
            revision: commit, tag or branch of a hub id.
            host: what runs its servers; this machine, with all of its GPUs, where None.
            adapter: folder of a LoRA adapter on the model, which answers in the model's place.

        Raises:
            ConfigError: an option in `args` that cannot be.
        """
        self._name, self._config = name, config
        self._sampling, self._kwargs = sampling, dict(chat_template_kwargs or {})
        self._model, self._revision = config.model or name, revision
        self._adapter = adapter
        self._host: Host = host or ThisMachine()
        self._subject = f"model {name!r}"
        option_words(config.args)
        exact = config.dtype == "float32"
        noise = f"{self._subject}: in dtype {config.dtype} requests in one batch can move near ties"
        self.limits: tuple[str, ...] = () if exact else (noise,)
        self.stopped: Callable[[], bool] = never
        self.in_flight = InFlight(config.timeout)
        self._kept: Kept[Request, Answer] = self._host.kept(name, self._launch, self._client)

    def check(self) -> None:
        """Check that vLLM and the model are there; no server is started.

        Raises:
            ConfigError: they are not.
        """
        self._host.check(
            self._subject, Launch(self._name, self._config, self._model, self._revision)
        )

    def run(self, requests: Iterator[Request], done: Callable[[Answer], None]) -> None:
        """Answer every request; the servers stay for the next run, and are gone when this raises.

        Raises:
            ConfigError: a server cannot be started.
            EngineDown: one died more often than it is started again.
            Stopped: `stopped` said so.
        """
        told = (lambda answer: done(_unblanked(answer))) if self._is_plain() else done
        self._kept.run(requests, told, lambda: self.stopped())

    def close(self) -> None:
        """End the servers; a later `run` starts them again."""
        self._kept.close()

    def _launch(self) -> Launch:
        extra = [
            *([f"--chat-template={PLAIN_TEMPLATE}"] if self._is_plain() else []),
            *(lora_words(self._adapter) if self._adapter else []),
        ]
        return Launch(self._name, self._config, self._model, self._revision, tuple(extra))

    def _is_plain(self) -> bool:
        return lacks_template(self._model, self._config)

    def _client(self, server: Served, stopped: Callable[[], bool]) -> Client[Request, Answer]:
        """Return what asks a server that is ready.

        In the plain format a BOS token is the tokenizer's to add, and the next turn ends an answer.
        """
        plain, stops = self._is_plain(), [*self._sampling.stop, PLAIN_STOP]
        client = OpenAIEngine(
            self._name,
            OpenAIEngineConfig(
                kind="openai",
                base_url=[f"{server.base_url}/v1"],
                model=ADAPTER if self._adapter else SERVED_NAME,
                concurrency=ceil(self._config.concurrency / self._host.servers(self._config)),
                timeout=self._config.timeout,
                max_retries=RETRIES,
                extra_body={"add_special_tokens": True} if plain else {},
            ),
            self._sampling.model_copy(update={"stop": stops}) if plain else self._sampling,
            self._kwargs,
            api_key=server.api_key,
        )
        client.stopped = stopped
        client.in_flight = self.in_flight
        return client.run


def _unblanked(answer: Answer) -> Answer:
    """Take the blank behind 'Assistant:' away, which is the plain format's and not the answer's."""
    return replace(answer, text=answer.text.lstrip(" ")) if answer.text else answer
