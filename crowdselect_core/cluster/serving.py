"""vLLM servers that Ray places on the nodes of a cluster; this process asks them.

Each replica of a model (`data_parallel_size`) is a server of its own, on any node. Requests and
answers go between this process and the servers by HTTP: nothing of them passes through Ray.
"""

import logging
from collections.abc import Callable, Iterator
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial
from threading import Thread
from typing import Generic

from crowdselect_core.cluster import server_host
from crowdselect_core.cluster.calls import failed
from crowdselect_core.cluster.interrupts import interruptible
from crowdselect_core.cluster.outcome import read
from crowdselect_core.cluster.remote_server import RemoteServer, Replica
from crowdselect_core.cluster.server_nodes import ServerNodes
from crowdselect_core.config.engine import VllmEngineConfig
from crowdselect_core.config.executor import ExecutorConfig
from crowdselect_core.errors import Stopped, first_line
from crowdselect_core.generate.vllm.host import Client, ClientOf, Launch
from crowdselect_core.generate.vllm.requeue import Asked, Told, unless_empty
from crowdselect_core.generate.vllm.shared_work import SharedWork
from crowdselect_core.util.text import plural

log = logging.getLogger("crowdselect")

CHECK_SECONDS = 60.0  # for a look at a node; one that is busy is not waited for
LAST = 10.0  # seconds that a client has to end in order


@dataclass(frozen=True)
class RayMachines:
    """Runs servers on the nodes of a cluster; see `Host`.

    Args:
        executor: the cluster, and what a server takes.
    """

    executor: ExecutorConfig

    def servers(self, config: VllmEngineConfig) -> int:
        """Return how many servers a model has: each replica is one."""
        return config.data_parallel_size

    def check(self, subject: str, launch: Launch) -> None:
        """Check on a node that could take a server that vLLM and the model are there.

        A node that is busy says nothing now; the server says it when it is started.
        """
        nodes = ServerNodes(self.executor, launch.config, subject)
        nodes.look(serving=True)
        look = nodes.ray.remote(server_host.check).options(max_retries=0, **nodes.options)
        asked = look.remote(server_host.request(launch, subject=subject))
        with interruptible():
            ended, _ = nodes.ray.wait([asked], timeout=CHECK_SECONDS)
        if not ended:
            nodes.ray.cancel(asked, force=True)
            return
        problem = nodes.ray.exceptions
        try:
            with interruptible():
                told = nodes.ray.get(asked)
        except problem.RayTaskError as e:
            raise failed(subject, e) from None
        except problem.RayError as e:  # a worker or node was lost: the start of the server will say
            log.warning("%s: the look at a node was lost (%s)", subject, first_line(e))
            return
        read(told).value(subject)

    def kept(
        self, name: str, launch: Callable[[], Launch], client: ClientOf[Asked, Told]
    ) -> "SpreadServers[Asked, Told]":
        """Return what keeps the servers of a model."""
        return SpreadServers(f"vllm server of {name!r}", self.executor, launch, client)


def host_of(executor: ExecutorConfig, engine: object) -> RayMachines | None:
    """Return what runs the vLLM servers of an engine, where that is a cluster."""
    spreads = executor.kind == "ray" and isinstance(engine, VllmEngineConfig)
    return RayMachines(executor) if spreads else None


def placed(executor: ExecutorConfig, engine: object) -> str | None:
    """Say in a dry run how many servers of an engine Ray places; None where it places none."""
    host = host_of(executor, engine)
    if host is None or not isinstance(engine, VllmEngineConfig):
        return None
    return f"{plural(host.servers(engine), 'vLLM server')} on the Ray cluster"


class SpreadServers(Generic[Asked, Told]):
    """The servers of a model on a cluster; see `Kept`.

    Each is asked by a thread of its own. What a server that dies takes with it is asked again of
    the others, while it is placed again.
    """

    def __init__(
        self,
        subject: str,
        executor: ExecutorConfig,
        launch: Callable[[], Launch],
        client: ClientOf[Asked, Told],
    ) -> None:
        self._subject, self._executor = subject, executor
        self._launch, self._client_of = launch, client
        self._replicas: list[Replica] = []  # from the first run to `close`
        self._clients: dict[RemoteServer, Client[Asked, Told]] = {}
        self._work: SharedWork[Asked, Told] | None = None  # of the last run

    def run(
        self,
        items: Iterator[Asked],
        done: Callable[[Told], None],
        stopped: Callable[[], bool],
    ) -> None:
        """Have everything answered; `done` is called in this thread."""
        requests = unless_empty(items)
        if requests is None:
            return
        self._work = work = SharedWork[Asked, Told](requests)
        self._place()
        threads = [
            Thread(target=copy_context().run, args=(self._serve, replica, work), daemon=True)
            for replica in self._replicas
        ]
        try:
            for thread in threads:
                thread.start()
            for told in work.outcomes():
                if told is not None:
                    done(told)
                if stopped():
                    raise Stopped("asked to stop; committed results stay")
        except BaseException:
            work.stop()
            _join(threads)
            self.close()
            raise
        work.stop()
        _join(threads)

    def close(self) -> None:
        """End all servers at once, and wait until they have ended."""
        ends = [Thread(target=replica.close, daemon=True) for replica in self._replicas]
        for end in ends:
            end.start()
        for end in ends:
            end.join()
        self._replicas = []
        self._clients.clear()

    def _place(self) -> None:
        """Make the replicas; each is placed by its own thread."""
        if self._replicas:
            return
        launch = self._launch()
        nodes = ServerNodes(self._executor, launch.config, self._subject)
        count = launch.config.data_parallel_size
        one = replace(launch, config=launch.config.model_copy(update={"data_parallel_size": 1}))
        self._replicas = [
            Replica(nodes, one, f"{self._subject} ({number} of {count})")
            for number in range(1, count + 1)
        ]

    def _serve(self, replica: Replica, work: SharedWork[Asked, Told]) -> None:
        """Have a replica answer what is left, until all is answered or the run ends."""

        def serving() -> bool:
            return any(other.server is not None for other in self._replicas)

        try:
            while work.wait():
                server = replica.started(lambda: work.over, serving)
                if server is not None and (lost := self._ask(server, work)) is not None:
                    replica.died(lost)
        except BaseException as e:  # whatever it is: the run's thread raises it
            work.fail(e)

    def _ask(self, server: RemoteServer, work: SharedWork[Asked, Told]) -> int | None:
        """Ask a server what is left; return how many requests it lost where it died."""
        turn, died = work.turn(server.down), False
        try:
            if server not in self._clients:
                self._clients[server] = self._client_of(server, partial(self._ends, server))
            self._clients[server](turn.requests(), turn.take)
        except Exception:
            died = not work.over
            if died and not server.down():
                raise
        finally:
            lost = work.give_back(turn)
        if died:
            self._clients.pop(server, None)
        return lost if died else None

    def _ends(self, server: RemoteServer) -> bool:
        """Tell a client to stop: the run ends, or its server has vanished and never answers."""
        return self._work is None or self._work.over or server.gone()


def _join(threads: list[Thread]) -> None:
    for thread in threads:
        thread.join(LAST)
