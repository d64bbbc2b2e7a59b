"""Where vLLM servers run: what an engine asks of this machine, or of a cluster, in the same words.

What is asked is a `Launch`; what comes back answers requests, whichever servers do it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

from crowdselect_core.config.engine import VllmEngineConfig
from crowdselect_core.generate.vllm.requeue import Asked, Told

Client = Callable[[Iterator[Asked], Callable[[Told], None]], None]  # `run` of what asks a server

AskedOf = TypeVar("AskedOf", contravariant=True)
ToldBy = TypeVar("ToldBy", covariant=True)


@dataclass(frozen=True)
class Launch:
    """What a vLLM server is started from, on whichever machine.

    Args:
        name: of the crowd model or reward model, for messages.
        config: how it is run.
        model: folder or hub id.
        revision: commit, tag or branch of a hub id.
        extra: further words of its command line.
    """

    name: str
    config: VllmEngineConfig
    model: str
    revision: str | None
    extra: tuple[str, ...] = ()


class Served(Protocol):
    """A server that is ready."""

    @property
    def base_url(self) -> str:
        """Its address, without '/v1'."""
        ...

    @property
    def api_key(self) -> str:
        """The key that it asks for."""
        ...


# Returns what asks a server that is ready, and looks once a second whether it is to stop.
ClientOf = Callable[[Served, Callable[[], bool]], Client[Asked, Told]]


class Kept(Protocol[AskedOf, ToldBy]):
    """The servers of one model; they stay between runs."""

    def run(
        self,
        items: Iterator[AskedOf],
        done: Callable[[ToldBy], None],
        stopped: Callable[[], bool],
    ) -> None:
        """Have everything answered; without anything to ask no server is started.

        Raises:
            ConfigError: a server cannot be started.
            EngineDown: one died more often than it is started again.
            Stopped: `stopped` said so.
        """
        ...

    def close(self) -> None:
        """End the servers; a later `run` starts them again."""
        ...


class Host(Protocol):
    """Something that runs servers."""

    def servers(self, config: VllmEngineConfig) -> int:
        """Return how many servers of its own a model has; they share its concurrency."""
        ...

    def check(self, subject: str, launch: Launch) -> None:
        """Check that vLLM and the model are there; no server is started.

        Args:
            subject: whose server it would be, for messages.
            launch: what would be started.

        Raises:
            ConfigError: they are not.
        """
        ...

    def kept(
        self, name: str, launch: Callable[[], Launch], client: ClientOf[Asked, Told]
    ) -> Kept[Asked, Told]:
        """Return what keeps the servers of a model; none is started.

        Args:
            name: of the model, for messages.
            launch: tells what is started; asked when it is.
            client: see `ClientOf`; called once for each server that is ready.
        """
        ...
