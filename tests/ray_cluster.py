"""A real Ray cluster on this machine: nodes on loopback addresses, each of one CPU.

A node is `ray start --block` and its children. Ray's servers listen on every interface, so they ask
for a token.
"""

import os
import re
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import psutil
from servers import BIN, free_port, quiet_environment

UP = 600  # seconds; a node that takes longer to start on a busy machine hangs
STARTED = b"Ray runtime started"
OBJECTS = 80 << 20  # bytes of shared memory, the least that Ray takes
RAYLET = "/raylet/raylet"
RUNNING = "ray::crowdselect"  # how Ray names a worker's process while it computes a part


@dataclass
class Node:
    """One node: its address, and the process that its other processes come from."""

    ip: str
    process: subprocess.Popen[bytes]
    raylet: int | None = None  # the process that starts its workers

    def processes(self) -> list[psutil.Process]:
        """The processes of the node."""
        try:
            top = psutil.Process(self.process.pid)
            return [top, *top.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def running(self) -> list[int]:
        """The workers that compute a part now, by their pid; a look takes well below a part."""
        if self.raylet is None:
            found = [p.pid for p in self.processes() if RAYLET in title(p.pid).split(" ")[0]]
            self.raylet = found[0] if found else None
        if self.raylet is None:
            return []
        try:
            workers = Path(f"/proc/{self.raylet}/task/{self.raylet}/children").read_text().split()
        except OSError:
            return []
        return [int(pid) for pid in workers if title(int(pid)).startswith(RUNNING)]

    def tell_ports(self, told: set[str]) -> None:
        """Write down the port of an agent that is told which one to take, as the agent does later.

        A node ends whose agents do not do so within 15 seconds; on a busy machine they take longer.

        Args:
            told: the agents that are dealt with, which is added to.
        """
        for process in self.processes():
            agent = dict(re.findall(r"--([\w-]+)=(\S+)", title(process.pid)))
            name = agent.get("node-id")
            if name is None or name in told or "listen-port" not in agent:
                continue
            file = Path(agent["session-dir"], f"dashboard_agent_listen_port_{name}")
            if not file.exists():
                file.write_text(agent["listen-port"])
            told.add(name)

    def kill(self) -> None:
        """Take the node away, as a machine that loses its power."""
        found = {*self.processes(), *_members(self.process.pid)}  # whose parent has ended, too
        for process in found:
            if process.is_running():
                process.kill()
        psutil.wait_procs(found, timeout=UP)
        self.process.wait(timeout=UP)


def _members(session: int) -> list[psutil.Process]:
    """Return the processes of a session."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError):
            if os.getsid(process.pid) == session:
                found.append(process)
    return found


def title(pid: int) -> str:
    """Return the name that a process gives itself, or its command line; '' where it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text("utf-8", "replace").replace("\0", " ").strip()
    except OSError:
        return ""


@dataclass
class Cluster:
    """A running cluster; the first node is its head."""

    folder: Path
    environment: dict[str, str]
    gpus: int = 0  # of a node
    address: str = ""  # of the head
    nodes: list[Node] = field(default_factory=list)

    @classmethod
    def start(cls, further: Mapping[str, str], nodes: int = 2, gpus: int = 0) -> "Cluster":
        """Start a cluster whose nodes have further variables in their environment.

        Args:
            further: the variables.
            nodes: how many.
            gpus: that each has as Ray counts; no GPU has to be there.
        """
        folder = Path(tempfile.mkdtemp(prefix="ray-"))  # short: it holds sockets
        environment = quiet_environment(folder) | {
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_memory_monitor_refresh_ms": "0",  # it would kill workers of a busy machine
            "RAY_raylet_start_wait_time_s": "600",
            "RAY_agent_register_timeout_ms": "600000",
            "RAY_worker_register_timeout_seconds": "600",
            "RAY_health_check_timeout_ms": "60000",  # one that is dead is seen by its connection
            "RAY_TMPDIR": str(folder),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": uuid.uuid4().hex + uuid.uuid4().hex,
        }
        cluster = cls(folder, environment | dict(further), gpus)
        try:
            for _ in range(nodes):
                cluster.add()
        except BaseException:
            cluster.stop()
            raise
        return cluster

    @property
    def driver(self) -> dict[str, str]:
        """What the environment of a run needs beside the address."""
        wanted = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_TMPDIR", "RAY_USAGE_STATS_ENABLED")
        return {name: self.environment[name] for name in wanted}

    def add(self) -> Node:
        """Start a node and wait until it is one of the cluster."""
        node, log = self._spawned(len(list(self.folder.glob("node-*.log"))))
        self.nodes.append(node)
        told: set[str] = set()

        def is_up() -> bool:
            time.sleep(0.3)
            node.tell_ports(told)
            return STARTED in log.read_bytes()

        try:
            wait(is_up, f"no node {node.ip}", node.process)
        except AssertionError as e:
            raise AssertionError(f"{e}: {log.read_text()[-2000:]}") from None
        return node

    def _spawned(self, number: int) -> tuple[Node, Path]:
        """Begin to start a node; the first one is the head."""
        ip, head = f"127.0.0.{2 + number}", []
        if not self.nodes:
            self.address = f"{ip}:{free_port()}"
            head = ["--head", f"--port={self.address.partition(':')[2]}",
                    f"--temp-dir={self.folder}/{number}", "--include-dashboard=false"]  # fmt: skip
            if find_spec("grpc") is not None:  # else Ray starts no server for its client
                head.append(f"--ray-client-server-port={free_port()}")
        agents = ("dashboard-agent-grpc", "dashboard-agent-listen", "runtime-env-agent",
                  "metrics-export")  # fmt: skip
        argv = [str(BIN / "ray"), "start", "--block", f"--node-ip-address={ip}", "--num-cpus=1",
                f"--num-gpus={self.gpus}",
                f"--object-store-memory={OBJECTS}", "--disable-usage-stats",
                "--include-log-monitor=false",
                "--min-worker-port=0", "--max-worker-port=0",  # else among those of other tests
                *(f"--{name}-port={free_port()}" for name in agents),
                *(head or [f"--address={self.address}"])]  # fmt: skip
        log = self.folder / f"node-{number}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                env=self.environment, cwd=self.folder, start_new_session=True,
            )  # fmt: skip
        return Node(ip, process), log

    def lose(self, node: Node) -> None:
        """Take a node away."""
        self.nodes.remove(node)
        node.kill()

    def running(self) -> list[int]:
        """The workers that compute a part now, on any node."""
        return [pid for node in self.nodes for pid in node.running()]

    def hold(self, stage: str, node: Node, run: subprocess.Popen[str]) -> psutil.Process:
        """Stop a worker of a node amid a part of a stage, and return it; others go on.

        Meanwhile the workers of the other nodes stand still, or they might do all the work.
        """
        still: list[psutil.Process] = []
        held: list[psutil.Process] = []
        wanted = f"{RUNNING} {stage}"

        def look() -> bool:
            for one in self.nodes:
                for pid in one.running():
                    if title(pid) != wanted or pid in [process.pid for process in still]:
                        continue
                    process = psutil.Process(pid)
                    process.suspend()
                    if title(pid) != wanted:  # it had just ended its part
                        process.resume()
                    else:
                        (held if one is node else still).append(process)
            return bool(held)

        try:
            wait(look, f"no part of {stage} on {node.ip}", run)
        finally:
            for process in still:
                process.resume()
        return held[0]

    def stop(self) -> None:
        """End all nodes, the head last."""
        for node in reversed(self.nodes):
            node.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def logs(self) -> Iterator[bytes]:
        """Yield what the nodes and their workers wrote."""
        for path in self.folder.rglob("*"):
            if path.is_file():
                yield path.read_bytes()


def wait(true: Callable[[], bool], what: str, process: subprocess.Popen[str]) -> None:
    """Wait for something that a process does."""
    end = time.monotonic() + UP
    while not true():
        assert process.poll() is None, f"{what}: the process ended with {process.returncode}"
        assert time.monotonic() < end, f"{what} within {UP} s"
        time.sleep(0.001)
