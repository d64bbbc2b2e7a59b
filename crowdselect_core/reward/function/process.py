"""One worker process of a reward function, as its parent sees it: start, ask, kill, bury."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from threading import Lock
from typing import IO, Any

from crowdselect_core.config.reward import FunctionReward
from crowdselect_core.errors import ConfigError
from crowdselect_core.reward.function.worker import packed

STARTUP = 120.0  # seconds for the import of the function's module
MOST_REPLY = 1_000_000  # bytes; a longer one is no reply of a worker
MOST_STDERR = 4_000  # bytes of a worker's last words that are kept


class Died(Exception):
    """A worker ended, or said what no worker says; tells its exit and its last line."""


def search_path() -> list[str]:
    """Return where a function's module is looked for: the working directory, then sys.path."""
    here = os.getcwd()  # noqa: PTH109
    return list(dict.fromkeys([here, *(place or here for place in sys.path)]))


class Worker:
    """One process at a time, started when it is needed; used by one thread, killed by any."""

    def __init__(self, config: FunctionReward) -> None:
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = Lock()
        self._killed = False
        self._stderr = b""

    def start(self) -> None:
        """Start the process unless it runs, and have it import the function.

        Raises:
            ConfigError: it cannot.
        """
        if self._process is not None:
            if not self._killed and self._process.poll() is None:
                return
            self.end()  # it ended between two rows, which is no row's fault
        command = [sys.executable, "-m", "crowdselect_core.reward.function.worker"]
        pipe = subprocess.PIPE
        with self._lock:
            self._process = subprocess.Popen(  # noqa: S603
                [*command, str(os.getpid())],
                stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, start_new_session=True,
            )  # fmt: skip
            self._killed = False
        self._stderr = b""
        for stream in self._streams():
            os.set_blocking(stream.fileno(), False)
        setup = packed({"path": self._config.path, "search": search_path()})
        try:
            reply = self.ask(setup, STARTUP)
            why = reply.get("refused")
        except TimeoutError:
            why = f"its import took more than {STARTUP:g} s"
        except Died as e:
            why = f"the worker died: {e}"
        if why is not None:
            self.end()
            raise ConfigError(
                f"reward model {self._config.name!r}: {self._config.path} cannot be loaded: {why}; "
                "run from the folder that holds the module, or install it"
            )

    def ask(self, message: bytes, seconds: float) -> dict[str, Any]:
        """Send a message and return the reply.

        Raises:
            TimeoutError: none within `seconds`.
            Died: the process ended, or its reply is none.
        """
        deadline = time.monotonic() + seconds
        stdin, stdout, stderr = self._streams()
        poll = select.poll()
        poll.register(stdin, select.POLLOUT)
        poll.register(stdout, select.POLLIN)
        poll.register(stderr, select.POLLIN)
        out, reply = memoryview(message), b""
        while True:
            left = deadline - time.monotonic()
            ready = {fd for fd, _ in poll.poll(max(0.0, left) * 1000)}
            if stderr.fileno() in ready and not self._read_stderr():
                poll.unregister(stderr)
            if stdout.fileno() in ready:
                part = stdout.read(65536)
                reply += part or b""
                if part == b"" or len(reply) > MOST_REPLY:
                    raise Died(self._obituary())
                if len(reply) >= 4 and len(reply) - 4 >= int.from_bytes(reply[:4], "big"):
                    return _parsed(reply)
            elif left <= 0:
                raise TimeoutError
            elif stdin.fileno() in ready:
                try:
                    out = out[stdin.write(out[:65536]) or 0 :]
                except BrokenPipeError:
                    raise Died(self._obituary()) from None
                if not out:
                    poll.unregister(stdin)

    def kill(self) -> None:
        """Kill the process and what it started; the thread that uses it then finds it dead."""
        with self._lock:
            # until it is waited for, its number cannot belong to another group
            if self._process is not None and self._process.returncode is None:
                self._killed = True
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._process.pid, signal.SIGKILL)

    def end(self) -> None:
        """Kill the process, wait for its end, and free its pipes."""
        self.kill()
        with self._lock:
            if self._process is not None:
                self._process.wait()
                for stream in self._streams():
                    stream.close()
                self._process = None

    def _streams(self) -> tuple[IO[bytes], IO[bytes], IO[bytes]]:
        process = self._process
        if process is None or not (process.stdin and process.stdout and process.stderr):
            raise Died("it was ended")
        return process.stdin, process.stdout, process.stderr

    def _read_stderr(self) -> bool:
        """Keep the last of what is written there; False when it is closed."""
        part = self._streams()[2].read(65536)
        self._stderr = (self._stderr + (part or b""))[-MOST_STDERR:]
        return part != b""

    def _obituary(self) -> str:
        """Return how the process ended and its last line."""
        self.kill()
        if self._process is None:
            return "it was ended"
        self._read_stderr()
        with self._lock:
            code = self._process.wait()
        lines = self._stderr.decode("utf-8", "replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f"exit {code}" + (f", last line {last[:160]!r}" if last else "")


def _parsed(reply: bytes) -> dict[str, Any]:
    """Return the one message that the bytes are; raises Died if they are anything else."""
    try:
        message = json.loads(reply[4:])
    except ValueError:
        message = None
    if not isinstance(message, dict) or len(reply) - 4 != int.from_bytes(reply[:4], "big"):
        raise Died("its reply is no message: something else writes to its pipe")
    return message
