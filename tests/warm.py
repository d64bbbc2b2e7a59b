"""Starts of the command without its imports: a process that has them forks one for every start.

A fork has its own process id and group, working directory, environment, signals and exit status,
as `python -m flows.NAME` has. What is saved are the seconds in which prefect, sklearn and our own
modules are imported, and those in which an interpreter takes itself apart. polars is imported and
no more: the threads that compute start at its first use, and do not live through a fork. All forks
of one process share its hash seed; a run that others are compared with is started cold.
"""

import atexit
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).parent.parent
IMPORTED = ("sklearn.cluster", "sklearn.decomposition", "sklearn.feature_extraction.text",
            "prefect.main", "prefect.flow_engine", "prefect.task_engine", "prefect.artifacts",
            "prefect.utilities.visualization", "fastapi", "pyarrow.parquet", "s3fs", "aiohttp",
            "flows.cli", "flows.options", "jinja2", "tasks.annotate", "tasks.quality",
            "tasks.report", "tasks.secrets", "tasks.select", "flows.crowd_steps",
            "flows.method_steps", "flows.row_steps", "flows.reselect_steps",
            "crowdselect_core.planning.data_check", "crowdselect_core.planning.dry_run",
            "crowdselect_core.export.figure_files", "crowdselect_core.export.hub_dataset",
            "crowdselect_core.export.selection_files", "crowdselect_core.report.text")  # fmt: skip
# What libraries start when they are imported; none of them is needed after a fork.
THREADS = {"jemalloc_bg_thd", "polars-ooc-clea"}
# For runs that train or load a model: torch alone takes seconds, TRL as many again.
MODEL_LIBRARIES = ("torch", "transformers.models.llama.modeling_llama", "peft", "accelerate",
                   "trl.trainer.sft_trainer", "trl.trainer.dpo_trainer")  # fmt: skip
DESCRIPTORS = 3  # stdout, stderr and the status of a fork
NUMBER = 12  # bytes of a number that is passed on


@dataclass
class Fork:
    """A process that a warm one started, with the methods of `subprocess.Popen` that tests use."""

    args: Sequence[str]
    pid: int
    returncode: int | None
    _status: int
    _threads: list[threading.Thread] = field(default_factory=list)
    _texts: list[str] = field(default_factory=list)

    def poll(self) -> int | None:
        """Return the exit status, None while the process runs."""
        if self.returncode is None and select.select([self._status], [], [], 0)[0]:
            self.returncode = read_number(self._status)
            os.close(self._status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit status."""
        if self.returncode is None and not select.select([self._status], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(list(self.args), timeout or 0)
        status = self.poll()
        assert status is not None
        return status

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait until nobody can write to stdout and stderr any more, and for the end."""
        end = None if timeout is None else time.monotonic() + timeout
        for thread in self._threads:
            thread.join(None if end is None else max(0.0, end - time.monotonic()))
            if thread.is_alive():
                raise subprocess.TimeoutExpired(list(self.args), timeout or 0)
        self.wait(None if end is None else max(0.0, end - time.monotonic()))
        return self._texts[0], self._texts[1]

    def send_signal(self, number: int) -> None:
        """Send a signal, if the process runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def read(self, *descriptors: int) -> "Fork":
        """Read descriptors to their ends, in the background."""
        self._texts = [""] * len(descriptors)
        for end in enumerate(descriptors):
            self._threads.append(threading.Thread(target=self._read, args=end, daemon=True))
            self._threads[-1].start()
        return self

    def _read(self, place: int, descriptor: int) -> None:
        with os.fdopen(descriptor, encoding="utf-8") as file:
            self._texts[place] = file.read()


class Warm:
    """A process that has imported what the commands import.

    Args:
        environment: of the process and its forks.
        further: modules that it imports too.
    """

    def __init__(self, environment: Mapping[str, str], further: Sequence[str] = ()) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._environment, self._socket = dict(environment), ours
        argv = [sys.executable, __file__, str(theirs.fileno()), *further]
        self._process = subprocess.Popen(
            argv, cwd=ROOT, env=self._environment, stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()], start_new_session=True,
        )  # fmt: skip
        theirs.close()

    def stop(self) -> None:
        """End the process; its forks are ended by who started them."""
        self._socket.close()
        self._process.wait(timeout=90)

    def fits(self, environment: Mapping[str, str]) -> bool:
        """Whether an environment differs in nothing that is read by an import."""
        changed = {n for n, v in self._environment.items() if environment.get(n) != v}
        added = environment.keys() - self._environment.keys()
        return not changed and not [n for n in added if n.startswith(("PREFECT_", "PYTHON"))]

    def start(self, argv: Sequence[str], cwd: Path, environment: Mapping[str, str]) -> Fork:
        """Start `python ARGV`, which is '-m', a module and its flags, or a script and its."""
        order = {"argv": list(argv), "cwd": str(cwd), "environment": dict(environment)}
        pipes = [os.pipe() for _ in range(DESCRIPTORS)]
        socket.send_fds(self._socket, [json.dumps(order).encode()], [end for _, end in pipes])
        for _, end in pipes:
            os.close(end)
        (stdout, _), (stderr, _), (status, _) = pipes
        return Fork(argv, read_number(status), None, status).read(stdout, stderr)


def read_number(descriptor: int) -> int:
    """Read one number that `write_number` has written, and not a byte of the next."""
    data = os.read(descriptor, NUMBER)
    assert len(data) == NUMBER, "the warm process is gone"
    return int(data)


def write_number(descriptor: int, number: int) -> None:
    """Write a number in so few bytes that they arrive as one."""
    os.write(descriptor, f"{number:{NUMBER - 1}d}\n".encode())


def serve(requests: socket.socket) -> None:
    """Fork for every order until the tests are over; returns in forks, after their command."""
    while True:
        order, descriptors, *_ = socket.recv_fds(requests, 1 << 20, DESCRIPTORS)
        if not order:
            os._exit(0)
        with suppress(ChildProcessError):  # those that have watched a fork to its end
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if os.fork() == 0:
            requests.close()
            return watch(json.loads(order), *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def watch(order: dict[str, object], stdout: int, stderr: int, status: int) -> None:
    """Fork the command; write its process id, and its exit status when it has ended."""
    pid = os.fork()
    if pid == 0:
        os.close(status)
        return become(order, stdout, stderr)
    os.close(stdout)
    os.close(stderr)
    write_number(status, pid)
    _, ended = os.waitpid(pid, 0)
    write_number(status, os.waitstatus_to_exitcode(ended))
    os._exit(0)


def become(order: dict, stdout: int, stderr: int) -> None:
    """Be the process of a command, and run it."""
    os.setsid()
    for descriptor, number in ((stdout, 1), (stderr, 2)):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["environment"])
    end(ran(*order["argv"], cwd=order["cwd"]))


def ran(first: str, *rest: str, cwd: str) -> int:
    """Run a module or a script; return the exit status, raise what has no number."""
    try:
        if first == "-m":
            module, *flags = rest
            sys.argv, sys.path[0] = [module, *flags], cwd
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        else:
            sys.argv, sys.path[0] = [first, *rest], str(Path(first).parent)
            runpy.run_path(first, run_name="__main__")
    except SystemExit as e:
        if isinstance(e.code, str):
            raise
        return int(e.code or 0)
    return 0


def end(status: int) -> NoReturn:
    """End as an interpreter does, and leave it to the system to take apart what was imported."""
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, and ends pools
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    from flows.console import DEFAULTS

    own = dict(os.environ)
    os.environ.update(DEFAULTS | own)  # the commands set them before they import prefect
    for name in (*IMPORTED, *sys.argv[2:]):
        import_module(name)
    assert threading.active_count() == 1, "threads do not live through a fork"
    if sys.platform == "linux":
        names = {file.read_text().strip() for file in Path("/proc/self/task").glob("*/comm")}
        assert names <= THREADS | {Path("/proc/self/comm").read_text().strip()}, names
    gc.collect()
    gc.freeze()  # the collector of a fork leaves their pages alone
    serve(socket.socket(fileno=int(sys.argv[1])))
