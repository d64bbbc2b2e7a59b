"""The nodes of a Ray cluster on which vLLM servers are placed: what a server takes, and room."""

import logging
import time
from collections.abc import Mapping
from threading import Lock
from typing import Any

from crowdselect_core.cluster.connection import connect
from crowdselect_core.cluster.server_host import ServerHost
from crowdselect_core.config.engine import VllmEngineConfig
from crowdselect_core.config.executor import ExecutorConfig, PartResources
from crowdselect_core.errors import ConfigError

KEY = "vllm"  # of executor.resources
LOOK = 30.0  # seconds between two looks whether any node can take a server
PATIENCE = 600.0  # seconds that a node which can is waited for, while no server runs
CALLS = 3  # of an actor at once: `start` and `watch`, and `end` beside them

log = logging.getLogger("crowdselect")


class ServerNodes:
    """Places the servers of one model.

    Args:
        executor: the cluster, and what a server takes.
        engine: how a server is run.
        subject: whose servers they are, for messages.

    Raises:
        ConfigError: no cluster can be reached.
    """

    def __init__(self, executor: ExecutorConfig, engine: VllmEngineConfig, subject: str) -> None:
        self.ray = connect(executor.address)
        self.retries = executor.retries
        self.node = str(self.ray.get_runtime_context().get_node_id())  # of this process
        self._subject = subject
        self._takes = _takes(engine, executor.resources.get(KEY), self._nodes())
        self._lock = Lock()
        self._looked = float("-inf")
        self._lacking: float | None = None  # since when no node has what a server takes

    @property
    def options(self) -> dict[str, Any]:
        """What a server takes, as options of a task or actor."""
        return {
            "num_cpus": self._takes.get("CPU", 0), "num_gpus": self._takes.get("GPU", 0),
            "memory": self._takes.get("memory"), "scheduling_strategy": "SPREAD",
        }  # fmt: skip

    def actor(self) -> Any:
        """Return a new actor; Ray starts it on a node that has what it takes, now or later."""
        kind = self.ray.remote(ServerHost)
        return kind.options(max_restarts=0, max_concurrency=CALLS, **self.options).remote()

    def look(self, *, serving: bool) -> None:
        """See that some node has what a server takes; a cluster that grows may get one.

        Args:
            serving: whether a server of the model runs: then the run can wait for ever.

        Raises:
            ConfigError: for ten minutes none had, and no server runs.
        """
        with self._lock:
            now = time.monotonic()
            if now - self._looked < LOOK:
                return
            self._looked = now
            if any(all(n.get(k, 0) >= v for k, v in self._takes.items()) for n in self._nodes()):
                self._lacking = None
                return
            what = ", ".join(f"{amount:g} {kind}" for kind, amount in self._takes.items())
            if self._lacking is None:
                log.warning(
                    "%s: no node of the Ray cluster has %s, which one server takes; waiting for "
                    "one", self._subject, what,
                )  # fmt: skip
                self._lacking = now
            elif now - self._lacking > PATIENCE and not serving:
                raise ConfigError(
                    f"{self._subject}: for {PATIENCE:g} s no node of the Ray cluster had {what}, "
                    f"which one server takes: add a node, or set executor.resources.{KEY}"
                )

    def _nodes(self) -> list[Mapping[str, float]]:
        return [node["Resources"] for node in self.ray.nodes() if node["Alive"]]


def _takes(
    engine: VllmEngineConfig, own: PartResources | None, nodes: list[Mapping[str, float]]
) -> dict[str, float]:
    """Return what a server takes, by Ray's names; a replica is a server of its own."""
    own = own or PartResources()
    any_gpu = any(node.get("GPU", 0) > 0 for node in nodes)
    gpus = engine.tensor_parallel_size * engine.pipeline_parallel_size if any_gpu else 0
    found = {
        "CPU": 1.0 if own.cpus is None else own.cpus,
        "GPU": float(gpus) if own.gpus is None else own.gpus,
        "memory": float(own.memory or 0),
    }
    return {name: amount for name, amount in found.items() if amount}
