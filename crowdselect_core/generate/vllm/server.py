"""A vLLM server that the run starts, waits for and ends; for chat and for reward models."""

import http.client
import os
import re
import secrets
import socket
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from crowdselect_core.errors import ConfigError, Stopped
from crowdselect_core.generate.base import EngineDown, never
from crowdselect_core.generate.vllm.command import (
    LOCAL,
    command,
    environment,
    interpreter,
)
from crowdselect_core.generate.vllm.host import Launch
from crowdselect_core.generate.vllm.log import obituary
from crowdselect_core.processes.supervised import NotReady, SupervisedProcess

HEALTH_SECONDS = 10.0  # for one look: an engine in a long step answers late


class VllmServer:
    """A vLLM server on this machine with a port and a key of its own, and the guard that ends it.

    Use it as a context manager: entered it is starting, `ready` waits for it, and when it is left
    no process of it is there any more. `base_url` and `api_key` are for its clients.
    """

    def __init__(
        self,
        launch: Launch,
        *,
        gpus: Sequence[str],
        log: Path,
        host: str = LOCAL,
        apart: bool = False,
    ) -> None:
        """Keep what is needed; nothing is started.

        Args:
            launch: what is started.
            gpus: the GPUs that it may see; all of the run's where empty.
            log: file that its output is appended to.
            host: the address that it listens on.
            apart: see `SupervisedProcess`.
        """
        self.subject = f"vllm server of {launch.name!r}"
        self.restarts = launch.config.restarts
        self.log = log
        self.api_key = secrets.token_urlsafe(32)
        self._launch, self._gpus = launch, tuple(gpus)
        self._host, self._port, self._apart = host, 0, apart
        self._process: SupervisedProcess | None = None  # from the first start on

    @property
    def base_url(self) -> str:
        """Its address, without '/v1'."""
        return self.url_at(self._host)

    def url_at(self, address: str) -> str:
        """Return its address as those reach it who know this machine by another one."""
        return f"http://{f'[{address}]' if ':' in address else address}:{self._port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

    def start(self) -> None:
        """Start the server; `ready` waits for it.

        Raises:
            ConfigError: there is no vLLM, or an option cannot be.
        """
        asked = self._launch
        python = interpreter(self.subject, asked.config)
        self._port = free_port(self._host)
        words = command(
            python,
            asked.config,
            model=asked.model,
            revision=asked.revision,
            port=self._port,
            host=self._host,
            extra=asked.extra,
        )
        environ = environment(asked.config, self._gpus, self.api_key)
        self._process = SupervisedProcess(
            self.subject, words, environ, self.log, self.healthy, apart=self._apart
        )
        try:
            self._process.start()
        except OSError as e:
            raise ConfigError(
                f"{self.subject}: its log {str(self.log)!r} cannot be written: {e.strerror}"
            ) from None

    def ready(self, *, again: bool = False, stopped: Callable[[], bool] = never) -> None:
        """Wait until the server answers.

        Args:
            again: one like it ran already, so that the config is not to blame.
            stopped: asked while it starts; says whether to give up waiting.

        Raises:
            Stopped: `stopped` said so.
            ConfigError: it ended, or took longer than startup_timeout.
            EngineDown: the same, of one that is started again.
        """
        if self._process is None:
            raise RuntimeError(f"{self.subject} was not started")

        def healthy() -> bool:
            if self.healthy():
                return True
            if stopped():
                raise Stopped("asked to stop; committed results stay")
            return False

        self._process.healthy = healthy
        try:
            self._process.wait(self._launch.config.startup_timeout)
        except NotReady as e:
            why = e.why if e.ended else f"{e.why} (raise engine.startup_timeout)"
            if again:
                raise EngineDown(
                    f"{self.subject} died, and again {why}: {self.last_words()}"
                ) from None
            raise ConfigError(f"{self.subject} {why}: {self.last_words()}") from None

    def healthy(self) -> bool:
        """Say whether the server and its engine answer that they work."""
        return self._look() == http.client.OK

    def down(self) -> bool:
        """Say whether the server or its engine is dead; one that answers late is not."""
        return self._look() not in (http.client.OK, None)

    def runs(self) -> bool:
        """Say whether its process is there."""
        return self._process is not None and self._process.runs()

    def last_words(self) -> str:
        """Return the cause that the log names, what to change, and the log's last lines."""
        return obituary(self.log, self._process.log_start if self._process else 0)

    @property
    def exit_code(self) -> int | None:
        """The exit code once it was ended; 128 + n where signal n ended it."""
        return self._process.exit_code if self._process else None

    def end(self) -> None:
        """End the server and every process of its group, and wait until they are gone."""
        if self._process is not None:
            self._process.end()

    def _look(self) -> int | None:
        """Return the status of /health, 0 where nobody is there, None where no answer came."""
        return health(self._host, self._port) if self.runs() else 0


def health(host: str, port: int) -> int | None:
    """Return the status of a server's /health, 0 where nobody is there, None where none came."""
    connection = http.client.HTTPConnection(host, port, timeout=HEALTH_SECONDS)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status
    except TimeoutError:
        return None
    except (OSError, http.client.HTTPException):  # refused, or cut off
        return 0
    finally:
        connection.close()


def new_log(name: str, folder: Path | None) -> Path:
    """Make an empty log file for a server, in `folder` or where temporary files are.

    Raises:
        ConfigError: the folder cannot be written.
    """
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:60]
    try:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        handle, path = tempfile.mkstemp(".log", f"vllm-{safe}-", folder)
    except OSError as e:
        where = str(folder or tempfile.gettempdir())
        raise ConfigError(f"logs of servers: {where!r} cannot be written: {e.strerror}") from None
    os.close(handle)
    return Path(path)


def free_port(host: str) -> int:
    """Return a port of an address of this machine that nobody listens on.

    Raises:
        OSError: this machine has no such address.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
