"""Calls on a Ray cluster: some at a time, those whose worker died again, none left behind."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pickle import UnpicklingError
from typing import Any

from crowdselect_core.cluster import entry
from crowdselect_core.cluster.connection import connect
from crowdselect_core.cluster.interrupts import interruptible
from crowdselect_core.cluster.outcome import Outcome, read
from crowdselect_core.config.executor import ExecutorConfig, PartResources
from crowdselect_core.errors import ConfigError, first_line
from crowdselect_core.store.executors.base import Needs

log = logging.getLogger("crowdselect")

LOOK = 1.0  # seconds between two looks whether the run is to stop
ROOM = 30.0  # seconds without an answer, after which it is looked whether any node can compute
PATIENCE = 600.0  # seconds that a node which can compute is waited for
LONGEST = 30.0  # seconds before a call is made again, at most
GRACE = 5.0  # seconds that a worker has to end a call in order


IMPORT = "failed to import on the worker"  # what Ray says of a function that a worker cannot load


class WorkerLost(RuntimeError):
    """A call's worker or node died more often than it is tried again."""


class ClusterFailed(RuntimeError):
    """Ray ended a call for a reason that is none of its worker's or node's death."""


@dataclass(frozen=True)
class Call:
    """One call.

    Args:
        index: its number, another for every call.
        name: for messages.
        request: what the worker is given, as JSON: see `worker.answer`.
    """

    index: int
    name: str
    request: str


class Calls:
    """Makes calls on the workers of a cluster.

    Args:
        stage: whose calls they are.
        config: the cluster, and how many calls are pending at the most.
        needs: what the stage's calls take.
        check: called once a second; what it raises ends the calls.
    """

    def __init__(
        self, stage: str, config: ExecutorConfig, needs: Needs, check: Callable[[], None]
    ) -> None:
        self._stage, self._config, self._check = stage, config, check
        self._ray = connect(config.address)
        self._takes = _takes(needs, config.resources.get(stage), self._nodes())
        on_gpu = self._takes.get("GPU", 0) > 0
        self._remote = _remotes()[on_gpu].options(
            num_cpus=self._takes.get("CPU", 0), num_gpus=self._takes.get("GPU", 0),
            memory=self._takes.get("memory"), max_retries=0, scheduling_strategy="SPREAD",
            name=f"crowdselect {stage}",
        )  # fmt: skip
        self._answered = self._looked = time.monotonic()
        self._warned = False

    def run(self, calls: Iterable[Call]) -> Iterator[tuple[Call, Outcome]]:
        """Make the calls and yield each with its answer, in the order in which they end.

        Raises:
            WorkerLost: the worker of one call died too often.
            ClusterFailed: Ray ended a call for another reason.
            ConfigError: no node has what a call takes; a worker cannot import this library.
            Whatever `check` raises; calls that are running are then cancelled.
        """
        waiting: dict[Any, Call] = {}
        again: list[tuple[float, Call]] = []  # lost calls, and when they are made again
        lost: Counter[int] = Counter()
        nodes: Counter[str] = Counter()  # calls by the node that answered
        logged: set[str] = set()
        left = iter(calls)
        self._look_for_room()
        try:
            while True:
                due = [one for one in again if one[0] <= time.monotonic()]
                again = [one for one in again if one not in due]
                for _, call in due:
                    waiting[self._remote.remote(call.request)] = call
                while len(waiting) + len(again) < self._config.pending:
                    if (fresh := next(left, None)) is None:
                        break
                    waiting[self._remote.remote(fresh.request)] = fresh
                if not waiting and not again:
                    log.info("%-13s %s", self._stage, _shares(nodes))
                    return
                self._check()
                for ref in self._ended(list(waiting)):
                    call = waiting.pop(ref)
                    outcome = self._outcome(ref, call, lost)
                    if outcome is None:
                        again.append((time.monotonic() + _pause(lost[call.index]), call))
                        continue
                    outcome.relog(logged)
                    nodes[outcome.node] += 1
                    yield call, outcome
        finally:
            self._cancel(list(waiting))

    def _ended(self, refs: list[Any]) -> list[Any]:
        """Wait a moment, and return the calls that have ended."""
        if not refs:
            time.sleep(LOOK)
            return []
        with interruptible():
            ended, _ = self._ray.wait(refs, num_returns=1, timeout=LOOK)
        now = time.monotonic()
        if ended:
            self._answered = now
            with interruptible():
                ended, _ = self._ray.wait(refs, num_returns=len(refs), timeout=0)
        elif now - max(self._answered, self._looked) > ROOM:
            self._look_for_room()
        return list(ended)

    def _outcome(self, ref: Any, call: Call, lost: Counter[int]) -> Outcome | None:
        """Return the answer of a call that ended; None where it is to be made again."""
        problem = self._ray.exceptions
        try:
            with interruptible():
                text = self._ray.get(ref)
            return read(text)
        except (
            problem.WorkerCrashedError, problem.NodeDiedError, problem.OutOfMemoryError,
            problem.LocalRayletDiedError, problem.ObjectLostError,
        ) as e:  # fmt: skip
            lost[call.index] += 1
            times, why = lost[call.index], type(e).__name__
            if times > self._config.retries:
                hint = (
                    f"; set executor.resources: {{{self._stage}: {{memory: 8GiB}}}}, or more"
                    if isinstance(e, problem.OutOfMemoryError)
                    else ""
                )
                raise WorkerLost(
                    f"{call.name}: its worker died {times} times ({why}: {first_line(e)}){hint}; "
                    "finished parts stay: run again to resume"
                ) from None
            log.warning(
                "%s: its worker or node died (%s); computing it again, try %d of %d",
                call.name, why, times, self._config.retries,
            )  # fmt: skip
            return None
        except problem.RayError as e:
            raise failed(call.name, e) from None

    def _cancel(self, refs: list[Any]) -> None:
        """End calls, in order or with their worker; what it writes is whole or not there."""
        if not refs:
            return
        with suppress(self._ray.exceptions.RayError), interruptible():  # it may be lost
            for ref in refs:
                self._ray.cancel(ref)
            _, running = self._ray.wait(refs, num_returns=len(refs), timeout=GRACE)
            for ref in running:
                self._ray.cancel(ref, force=True)

    def _nodes(self) -> list[Mapping[str, float]]:
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def _look_for_room(self) -> None:
        """See that some node has what a call takes; a cluster that grows may get one."""
        self._looked = now = time.monotonic()
        if any(all(n.get(k, 0) >= v for k, v in self._takes.items()) for n in self._nodes()):
            self._warned = False
            return
        what = ", ".join(
            f"{amount / 1e9:.1f} GB of memory" if kind == "memory" else f"{amount:g} {kind}"
            for kind, amount in self._takes.items()
        )
        if self._warned and now - self._answered > PATIENCE:
            raise ConfigError(
                f"{self._stage}: for {PATIENCE:g} s no node of the Ray cluster had {what}, which "
                f"one part takes: add a node, or lower executor.resources.{self._stage}"
            )
        if not self._warned:
            log.warning(
                "%s: no node of the Ray cluster has %s, which one part takes; waiting for one",
                self._stage, what,
            )  # fmt: skip
            self._warned, self._answered = True, now


def room(stage: str, config: ExecutorConfig, needs: Needs) -> int:
    """Return how many calls of a stage the nodes of a cluster have room for at once.

    Args:
        stage: whose calls they are.
        config: the cluster.
        needs: what the stage's calls take.
    """
    nodes = [n["Resources"] for n in connect(config.address).nodes() if n["Alive"]]
    takes = _takes(needs, config.resources.get(stage), nodes)
    return sum(min(int(node.get(k, 0) // v) for k, v in takes.items()) for node in nodes)


def failed(name: str, error: Exception) -> ConfigError | ClusterFailed:
    """Return what to raise where Ray ended a call, though neither worker nor node died.

    Our own code answers with its errors. What a task raised all the same comes before it, most
    often an environment that lacks a package.

    Args:
        name: of the call.
        error: Ray's.
    """
    cause = getattr(error, "cause", None) or error
    words = str(cause).strip().splitlines() or [type(cause).__name__]
    if isinstance(cause, ImportError | AttributeError | UnpicklingError) or IMPORT in words[0]:
        return ConfigError(
            f"a Ray worker cannot run crowdselect ({words[-1]}): every node needs the environment "
            "of this process, with the same packages"
        )
    return ClusterFailed(
        f"{name}: Ray ended it ({type(cause).__name__}: {first_line(cause)}); what is finished "
        "stays: run again to resume"
    )


def _takes(
    needs: Needs, own: PartResources | None, nodes: list[Mapping[str, float]]
) -> dict[str, float]:
    """Return what a call takes, by Ray's names: as the config says, else as the stage does."""
    own = own or PartResources()
    any_gpu = any(node.get("GPU", 0) > 0 for node in nodes)
    found = {
        "CPU": needs.cpus if own.cpus is None else own.cpus,
        "GPU": float(needs.gpus * (needs.gpu and any_gpu)) if own.gpus is None else own.gpus,
        "memory": float(needs.memory if own.memory is None else own.memory),
    }
    return {name: amount for name, amount in found.items() if amount}


@cache
def _remotes() -> tuple[Any, Any]:
    """Return what Ray runs: without a GPU in workers that stay, with one in a worker each.

    A worker keeps the GPU that its libraries first saw, and the memory that they took of it, also
    when Ray lends that GPU to another: so it ends with its call.
    """
    import ray

    return ray.remote(max_calls=0)(entry.answer), ray.remote(max_calls=1)(entry.answer)


def _shares(nodes: Counter[str]) -> str:
    """Say how many calls the nodes answered."""
    if not nodes:
        return "no parts"
    most, least = max(nodes.values()), min(nodes.values())
    of = f"{least:,}" if most == least else f"{least:,} to {most:,}"
    return f"{nodes.total():,} parts on {len(nodes):,} Ray nodes, {of} each"


def _pause(times: int) -> float:
    return min(2.0 ** (times - 1) - 1.0, LONGEST)
