"""What every stage's task does: find the artifact, or build it and commit.

Prefect's own cache and result store stay off: a Prefect result record names its own deserialiser,
so one that was planted in a bucket could run code. Tasks return small JSON references.
"""

import logging
import time
from collections.abc import Callable, Sequence
from copy import copy
from functools import cache, wraps
from inspect import signature
from typing import Any, Generic, ParamSpec, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture
from prefect.states import Completed
from prefect.utilities.annotations import opaque

from crowdselect_core.cluster.executor import executor_of
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import TransientStorageError
from crowdselect_core.stages.base import How, Stage
from crowdselect_core.stages.refs import Ref
from crowdselect_core.store.artifacts import Artifact, Store
from tasks import cancellation, near_misses, terminal
from tasks.progress import IS_PROGRESS

log = logging.getLogger("crowdselect")

WAITING_SECONDS = 10.0  # without a shard, after which the time left is not known
WAITING_SHARDS = 3.0  # or so many times the mean time of a shard, if that is more

CONFIG = "config"  # the parameter of every stage that is no result of a task

P = ParamSpec("P")

R = TypeVar("R")


def storage_failed(_task: Any, _run: Any, state: State[Any]) -> bool:
    """Tell whether a task is to be retried: transient storage failures alone are."""
    return isinstance(state.result(raise_on_failure=False), TransientStorageError)


OPTIONS: dict[str, Any] = {
    "cache_policy": NO_CACHE,
    "persist_result": False,
    "retries": 3,
    "retry_delay_seconds": [1, 2, 4],
    "retry_condition_fn": storage_failed,
}


class StateTask(Generic[P, R]):
    """A task of a function that returns a state; whoever calls it gets the state's result.

    Args:
        name: of the task.
        function: what it does.
        whole: parameters of which Prefect looks at the value, or at each element of a list, and at
            nothing inside: it looks twice for what tasks returned, through every configuration.
    """

    def __init__(
        self, name: str, function: Callable[P, State[R]], whole: Sequence[str] = ()
    ) -> None:
        made = task(name=name, description=function.__doc__, **OPTIONS)(function)
        self._task: Any = made
        self._signature, self._whole = signature(function), whole
        wraps(function)(self)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        # Called directly, a task that returns a state hands the state on as it is.
        given = self._signature.bind(*args, **kwargs)
        for name in self._whole:
            value = given.arguments[name]
            each = isinstance(value, list)
            given.arguments[name] = [opaque(one) for one in value] if each else opaque(value)
        result: R = self._task(*given.args, **given.kwargs).result()
        return result

    def of(self, model: str, tags: list[str]) -> "StateTask[P, R]":
        """Return the task of one model.

        Args:
            model: its name, which the UI shows behind the task's.
            tags: by these a Prefect server can limit how many run at once.
        """
        made = copy(self)
        # as a callable: a text would be a template, and its braces would be filled in
        named = f"{self._task.name} {model}"
        made._task = self._task.with_options(tags=tags, task_run_name=lambda: named)
        return made

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> PrefectFuture[R]:
        """Run the task beside others; the future's result is the state's."""
        future: PrefectFuture[R] = self._task.submit(*args, **kwargs)
        return future


def state_task(
    name: str, whole: Sequence[str] = ()
) -> Callable[[Callable[P, State[R]]], StateTask[P, R]]:
    """Make a task of a function that returns a state; see `StateTask`."""
    return lambda function: StateTask(name, function, whole)


def run(stage: Stage[P], config: SelectConfig, /, *inputs: P.args, **named: P.kwargs) -> Ref:
    """Run a stage as its task (a `Runner`): its artifact is taken from the store, or built."""
    return _task_of(stage)(config, *inputs, **named)


@cache
def _task_of(stage: Stage[Any]) -> StateTask[..., Ref]:
    """Make the task of a stage: a look in the store, else a build."""

    def work(config: SelectConfig, *inputs: Any, **named: Any) -> State[Ref]:
        cancellation.check()
        started = time.monotonic()
        spec, store = stage.spec(config, *inputs, **named), Store(config.store)
        artifact = near_misses.find(store, spec)
        if artifact is not None:
            ref = ref_of(artifact, started, cached=True)
            log.info("%-13s Cached, %s rows", spec.stage, f"{ref.rows:,}")
            return Completed(name="Cached", message=f"in the store: {spec.folder}", data=ref)
        progress = _Progress()
        with terminal.bar(spec.stage, progress.view):
            executor = executor_of(config, cancellation.check)
            how = How(executor=executor, progress=progress)
            artifact = stage.build(store, spec, how, config, *inputs, **named)
        ref = ref_of(artifact, started, cached=False)
        log.info("%-13s %s rows, %.1f s", spec.stage, f"{ref.rows:,}", ref.seconds)
        return Completed(message=f"computed: {spec.folder}", data=ref)

    work.__name__ = work.__qualname__ = stage.name
    work.__doc__ = stage.description
    work.__signature__ = stage.signature  # type: ignore[attr-defined]  # names in the UI
    return StateTask(stage.name, work, whole=[CONFIG])


def ref_of(artifact: Artifact, started: float, *, cached: bool) -> Ref:
    """Return the reference to an artifact; `started` is the monotonic time its task began."""
    return Ref.of(artifact, time.monotonic() - started, cached=cached)


class _Progress:
    """A line per shard, once a second at most; a shard is also where a run can be stopped."""

    def __init__(self) -> None:
        self._started = self._last = self._logged = time.monotonic()
        self._done = 0
        self._total: int | None = None

    def __call__(self, stage: str, done: int, total: int) -> None:
        cancellation.check()
        self._last = now = time.monotonic()
        self._done, self._total = done, total
        if now - self._logged < 1 or done == total:
            return
        self._logged = now
        words = self._words()
        log.info(
            "%-13s %d of %d shards%s", stage, done, total, f", {words}" if words else "",
            extra=IS_PROGRESS,
        )  # fmt: skip

    def view(self) -> terminal.Progress:
        """Return what the stage's bar shows now."""
        words = self._words()
        return terminal.Progress(self._done, self._total, f"shards, {words}" if words else "shards")

    def _words(self) -> str:
        """Say how long the rest takes, as long as the shards come at the pace so far."""
        if not self._done:
            return ""
        mean, idle = (self._last - self._started) / self._done, time.monotonic() - self._last
        if idle > max(WAITING_SECONDS, WAITING_SHARDS * mean):
            return f"waiting: no shard for {idle:,.0f} s"
        return f"about {mean * (self._total - self._done):,.0f} s left" if self._total else ""
