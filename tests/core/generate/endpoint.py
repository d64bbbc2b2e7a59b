"""A faulty endpoint on a thread of its own, and engines that ask it."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from crowdselect_core.chat import Message
from crowdselect_core.config.engine import OpenAIEngineConfig, SamplingConfig
from crowdselect_core.generate.base import Answer, Request
from crowdselect_core.generate.openai.engine import OpenAIEngine
from crowdselect_core.testing.faulty_endpoint import FaultyEndpoint, Options


class Served:
    """An endpoint on a loop of its own: its URL, and what it counted."""

    def __init__(self, options: Options) -> None:
        self.endpoint = FaultyEndpoint(options)
        self.url = ""
        self.up = threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def stop(self) -> None:
        """Stop it, whatever hangs in it."""
        self._loop.call_soon_threadsafe(self._stopped.set)
        self.thread.join()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        self.url = await self.endpoint.start()
        self.up.set()
        await self._stopped.wait()
        await self.endpoint.stop()


@contextmanager
def served(**options: Any) -> Iterator[Served]:
    """Serve a faulty endpoint for the time of a with block."""
    server = Served(Options(**options))
    server.thread.start()
    assert server.up.wait(120)
    try:
        yield server
    finally:
        server.stop()


def engine(
    url: str | list[str],
    sampling: SamplingConfig | None = None,
    kwargs: dict[str, Any] | None = None,
    api_key: str | Callable[[], str] | None = None,
    **config: Any,
) -> OpenAIEngine:
    """Return an engine for crowd model 'model' that waits little between retries."""
    given = OpenAIEngineConfig(kind="openai", base_url=url, **config)
    return OpenAIEngine(
        "model", given, sampling or SamplingConfig(), kwargs or {}, api_key=api_key, first_wait=0.01
    )


def request(number: int, text: str, seed: int | None = None) -> Request:
    """Return the request of one user message."""
    return Request(number.to_bytes(16, "big"), (Message(role="user", content=text),), seed)


def answers(
    asked: OpenAIEngine, *texts: str, done: Callable[[Answer], None] | None = None
) -> list[Answer]:
    """Ask for answers to texts and return them in the order of the texts."""
    got: list[Answer] = []
    asked.run(iter([request(i, text) for i, text in enumerate(texts)]), done or got.append)
    return sorted(got, key=lambda answer: answer.key)
