"""A vLLM server that the run starts, waits for and ends; for chat and for reward models."""

import http.client
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from crowdselect_core.config.engine import VllmEngineConfig
from crowdselect_core.errors import ConfigError, Stopped
from crowdselect_core.generate.base import EngineDown, never
from crowdselect_core.generate.vllm.command import SERVED_NAME, command, environment, interpreter
from crowdselect_core.generate.vllm.log import obituary
from crowdselect_core.processes import guard

POLL = 0.25  # seconds between two looks at a server that starts
HEALTH_SECONDS = 10.0  # for one look: an engine in a long step answers late
END_SECONDS = guard.GRACE + guard.LAST + 5.0  # for the guard to have ended everything


class VllmServer:
    """A vLLM server on a port of this machine with a key of its own, and the guard that ends it.

    Use it as a context manager: entered it is starting, `ready` waits for it, and when it is left
    no process of it is there any more. `base_url`, `api_key` and `model` are for its clients.
    """

    model = SERVED_NAME

    def __init__(
        self,
        name: str,
        config: VllmEngineConfig,
        *,
        model: str,
        revision: str | None,
        gpus: Sequence[str],
        log: Path,
        extra: Sequence[str] = (),
    ) -> None:
        """Keep what is needed; nothing is started.

        Args:
            name: of the crowd model or reward model, for messages.
            config: how it is run.
            model: folder or hub id.
            revision: commit, tag or branch of a hub id.
            gpus: the GPUs that it may see; all of the run's where empty.
            log: file that its output is appended to.
            extra: further words of its command line.
        """
        self.subject = f"vllm server of {name!r}"
        self.log = log
        self.api_key = secrets.token_urlsafe(32)
        self.pid: int | None = None  # of the server, and of its process group
        self._config, self._gpus, self._extra = config, tuple(gpus), tuple(extra)
        self._model, self._revision = model, revision
        self._port = 0
        self._since = 0  # where this start's output begins in the log
        self._guard: subprocess.Popen[bytes] | None = None
        self.exit_code: int | None = None  # once it has ended; 128 + n where signal n ended it

    @property
    def base_url(self) -> str:
        """Its address, without '/v1'."""
        return f"http://127.0.0.1:{self._port}"

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
        python = interpreter(self.subject, self._config)
        self._port = _free_port()
        words = command(
            python,
            self._config,
            model=self._model,
            revision=self._revision,
            port=self._port,
            extra=self._extra,
        )
        watched = [sys.executable, "-I", "-S", guard.__file__, str(os.getpid()), "--", *words]
        with self._open_log() as log:
            self._since = log.seek(0, 2)
            self._guard = subprocess.Popen(  # noqa: S603 - our own script
                watched, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                env=environment(self._config, self._gpus, self.api_key), start_new_session=True,
            )  # fmt: skip
        if self._guard.stdout is not None:
            told = self._guard.stdout.read(32)  # up to its end: at once, or when it gives up
            self.pid = int(told) if told.strip().isdigit() else None

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
        limit = self._config.startup_timeout
        deadline = time.monotonic() + limit
        while not self.healthy():
            if stopped():
                raise Stopped("asked to stop; committed results stay")
            if self._guard is None or self._guard.poll() is not None:
                why = "ended before it was ready"
            elif time.monotonic() > deadline:
                why = f"was not ready after {limit:g} s (raise engine.startup_timeout)"
            else:
                time.sleep(POLL)
                continue
            if again:
                raise EngineDown(f"{self.subject} died, and again {why}: {self.last_words()}")
            raise ConfigError(f"{self.subject} {why}: {self.last_words()}")

    def healthy(self) -> bool:
        """Say whether the server and its engine answer that they work."""
        return self._look() == http.client.OK

    def down(self) -> bool:
        """Say whether the server or its engine is dead; one that answers late is not."""
        return self._look() not in (http.client.OK, None)

    def last_words(self) -> str:
        """Return the cause that the log names, what to change, and the log's last lines."""
        return obituary(self.log, self._since)

    def end(self) -> None:
        """End the server and every process of its group, and wait until they are gone."""
        if self._guard is None:
            return
        for pipe in (self._guard.stdin, self._guard.stdout):
            if pipe is not None:
                pipe.close()  # the guard's sign
        try:
            self._guard.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._guard.kill()
            self._guard.wait()
        self.exit_code = self._guard.returncode
        if self.exit_code < 0 and self.pid is not None:  # somebody killed the guard
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        self._guard = None

    def _look(self) -> int | None:
        """Return the status of /health, 0 where nobody is there, None where no answer came."""
        if self._guard is None or self._guard.poll() is not None:
            return 0
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=HEALTH_SECONDS)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status
        except TimeoutError:
            return None
        except (OSError, http.client.HTTPException):  # refused, or cut off
            return 0
        finally:
            connection.close()

    def _open_log(self) -> IO[bytes]:
        try:
            return self.log.open("ab")
        except OSError as e:
            raise ConfigError(
                f"{self.subject}: its log {str(self.log)!r} cannot be written: {e.strerror}"
            ) from None


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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
