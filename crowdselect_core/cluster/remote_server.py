"""One vLLM server somewhere on a Ray cluster; another takes its place when it or its node dies."""

import http.client
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from crowdselect_core.cluster import server_host
from crowdselect_core.cluster.calls import failed
from crowdselect_core.cluster.outcome import read
from crowdselect_core.cluster.server_nodes import ServerNodes
from crowdselect_core.errors import first_line
from crowdselect_core.generate.base import EngineDown
from crowdselect_core.generate.vllm.host import Launch
from crowdselect_core.generate.vllm.server import health
from crowdselect_core.models.hub import model_identity
from crowdselect_core.processes.supervised import END_SECONDS

LOOK = 1.0  # seconds between two looks whether it is over
SLOW = 60.0  # seconds after which a start that lasts is said

log = logging.getLogger("crowdselect")


class RemoteServer:
    """A server that answered when it was started.

    Args:
        ray: the module.
        actor: of the server, see `ServerHost`.
        told: what `ServerHost.start` told.
    """

    def __init__(self, ray: Any, actor: Any, told: dict[str, str]) -> None:
        self.base_url, self.api_key, self.log = told["url"], told["key"], told["log"]
        self.watching = actor.watch.remote()
        self._ray = ray
        self._dead = False

    def gone(self) -> bool:
        """Say whether its process or its node is known to be gone; this takes no time."""
        self._dead = self._dead or bool(self._ray.wait([self.watching], timeout=0)[0])
        return self._dead

    def down(self) -> bool:
        """Say whether it is dead; one that answers late is not."""
        if not self.gone():
            at = urlsplit(self.base_url)
            found = health(at.hostname or "", at.port or 0)
            self._dead = found not in (http.client.OK, None)
        return self._dead


class Replica:
    """One of the servers of a model: where it runs now, and how often it died.

    Args:
        nodes: where it may be placed.
        launch: what is started.
        name: of the replica, for messages.
    """

    def __init__(self, nodes: ServerNodes, launch: Launch, name: str) -> None:
        self._nodes, self._ray, self._launch, self._name = nodes, nodes.ray, launch, name
        self._actor: Any = None
        self._starting: Any = None
        self._ended = 0  # how often it died on a node that lives
        self._lost = 0  # and with its node
        self.server: RemoteServer | None = None

    def started(self, over: Callable[[], bool], serving: Callable[[], bool]) -> RemoteServer | None:
        """Return the server; place it on a node where there is none, or it died since.

        Args:
            over: says whether it is still wanted; asked once a second.
            serving: says whether another replica works.

        Returns:
            The server; None where it is not wanted any more, and goes on starting.

        Raises:
            ConfigError: it cannot be started, or no node has what it takes.
            EngineDown: it died more often than it is started again.
        """
        if self.server is not None and self.server.down():
            self.died(0)
        while self.server is None:
            if over():
                return None
            if self._starting is None:
                self._actor = self._nodes.actor()
                asked = server_host.request(
                    self._launch, again=self._ended + self._lost > 0, node=self._nodes.node,
                    weights=model_identity(self._launch.model, self._launch.revision),
                )  # fmt: skip
                self._starting = self._actor.start.remote(asked)
            began, told = time.monotonic(), False
            while not self._ray.wait([self._starting], timeout=LOOK)[0]:
                if over():
                    return None
                self._nodes.look(serving=serving())
                if not told and time.monotonic() - began > SLOW:
                    told = True
                    log.info(
                        "%s: not there after %g s: it waits for room on the Ray cluster, or loads "
                        "its model", self._name, SLOW,
                    )  # fmt: skip
            self._take()
        return self.server

    def died(self, lost: int) -> None:
        """Clear a dead server away.

        Args:
            lost: requests that it took along.

        Raises:
            EngineDown: it is not placed again.
        """
        if self.server is None:
            raise RuntimeError(f"{self._name} was not started")
        watching, place = self.server.watching, self.server.log
        self._end(watching)
        try:
            code, words = read(self._ray.get(watching, timeout=0)).value(self._name)
        except self._ray.exceptions.RayError as e:
            self._count_lost(e, lost)
            return
        finally:
            self.server = None
        self._count_ended(f"with exit code {code}: {words}", lost, f"exit code {code}; log {place}")

    def close(self) -> None:
        """End the server, and wait until it has ended; one that is starting is not waited for."""
        self._end(self.server.watching if self.server is not None else None)
        self.server = self._starting = None

    def _take(self) -> None:
        """Take what came of a start."""
        problem = self._ray.exceptions
        starting, self._starting = self._starting, None
        try:
            outcome = read(self._ray.get(starting))
        except problem.RayTaskError as e:
            raise failed(self._name, e) from None
        except problem.RayError as e:
            self._end(None)
            self._count_lost(e, 0)
            return
        outcome.relog(set())
        try:
            told = outcome.value(self._name)
        except EngineDown as e:  # one like it ran already
            self._end(None)
            self._count_ended(str(e), 0, first_line(e))
            return
        self.server = RemoteServer(self._ray, self._actor, told)
        log.info("%s is ready on Ray node %s; its log there is %s", self._name, outcome.node,
                 self.server.log)  # fmt: skip

    def _count_ended(self, how: str, lost: int, short: str) -> None:
        self._ended += 1
        most = self._launch.config.restarts
        if self._ended > most:
            raise EngineDown(f"{self._name} died {self._ended} times (restarts: {most}), {how}")
        log.warning("%s died with %d requests on their way; starting it again, try %d of %d (%s)",
                    self._name, lost, self._ended, most, short)  # fmt: skip

    def _count_lost(self, error: Exception, lost: int) -> None:
        self._lost += 1
        why, most = type(error).__name__, self._nodes.retries
        if self._lost > most:
            raise EngineDown(
                f"{self._name}: its worker or node died {self._lost} times ({why}: "
                f"{first_line(error)}); finished answers stay: run again to resume"
            )
        log.warning(
            "%s: its worker or node died (%s) with %d requests on their way; placing it again, try "
            "%d of %d", self._name, why, lost, self._lost, most,
        )  # fmt: skip

    def _end(self, watching: Any) -> None:
        """End the server in order, where one is watched, and its actor."""
        actor, self._actor = self._actor, None
        if actor is None:
            return
        with suppress(self._ray.exceptions.RayError):  # the node may be what is lost
            if watching is not None:
                last = [actor.end.remote(), watching]
                self._ray.wait(last, num_returns=len(last), timeout=END_SECONDS)
        with suppress(self._ray.exceptions.RayError):
            self._ray.kill(actor)
