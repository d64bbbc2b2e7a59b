"""Calls on a cluster: how many are pending, which are made again, and that none is left behind.

In place of Ray stands a list of what its tasks came to; the real one is in test_ray.py.
"""

import json
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType, SimpleNamespace
from typing import Any

import pytest

from crowdselect_core.cluster import calls as calls_module
from crowdselect_core.cluster.calls import IMPORT, Call, Calls, ClusterFailed, WorkerLost
from crowdselect_core.config.executor import ExecutorConfig, PartResources
from crowdselect_core.errors import ConfigError, Stopped
from crowdselect_core.store.executors.base import Needs


class Died(Exception):
    """The worker died."""


class Other(Exception):
    """Something else."""

    cause: Exception | None = None


class Tasks:
    """What stands for the module ray: a task ends when it is waited for, the last one first."""

    def __init__(self, deaths: dict[str, int], nodes: list[dict[str, float]]) -> None:
        self.deaths, self._nodes = dict(deaths), nodes
        self.exceptions = SimpleNamespace(
            RayError=Exception, RayTaskError=Other, WorkerCrashedError=Died, NodeDiedError=Died,
            OutOfMemoryError=Died, LocalRayletDiedError=Died, ObjectLostError=Died,
        )  # fmt: skip
        self.death: Exception = Died("lost")
        self.made: list[str] = []
        self.most = 0
        self.out: set[int] = set()
        self.cancelled: list[int] = []
        self.options_: dict[str, Any] = {}

    def options(self, **options: Any) -> "Tasks":
        self.options_ = options
        return self

    def remote(self, request: str) -> int:
        self.made.append(request)
        self.out.add(len(self.made) - 1)
        self.most = max(self.most, len(self.out))
        return len(self.made) - 1

    def wait(
        self, refs: list[int], num_returns: int, timeout: float
    ) -> tuple[list[int], list[int]]:
        return refs[-1:], refs[:-1]

    def get(self, ref: int) -> str:
        self.out.discard(ref)
        request = self.made[ref]
        if self.deaths.get(request, 0):
            self.deaths[request] -= 1
            raise self.death
        return json.dumps({"node": "n", "lines": [], "result": request})

    def cancel(self, ref: int, force: bool = False) -> None:
        self.cancelled.append(ref)

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": node} for node in self._nodes]


Make = Callable[..., tuple[Calls, Tasks]]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Make:
    """Make calls and the tasks that stand for Ray."""
    monkeypatch.setattr(calls_module, "_pause", lambda times: 0.0)

    def made(
        *,
        deaths: dict[str, int] | None = None,
        nodes: list[dict[str, float]] | None = None,
        needs: Needs | None = None,
        check: Callable[[], None] = lambda: None,
        **config: Any,
    ) -> tuple[Calls, Tasks]:
        tasks = Tasks(deaths or {}, nodes or [{"CPU": 4.0}])
        monkeypatch.setattr(calls_module, "connect", lambda address: tasks)
        monkeypatch.setattr(calls_module, "_remotes", lambda: (tasks, tasks))
        executor = ExecutorConfig(kind="ray", **config)
        return Calls("metrics", executor, needs or Needs(), check), tasks

    return made


def numbered(count: int) -> Iterator[Call]:
    return (Call(i, f"metrics part {i}", str(i)) for i in range(count))


def test_no_more_are_pending_than_the_config_says(make: Make) -> None:
    calls, tasks = make(pending=3)
    done = [(call.index, outcome.result) for call, outcome in calls.run(numbered(10))]
    assert sorted(done) == [(i, str(i)) for i in range(10)]
    assert tasks.most == 3
    assert not tasks.cancelled


def test_a_lost_call_is_made_again(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    calls, tasks = make(deaths={"2": 2}, retries=2)
    assert {call.index for call, _ in calls.run(numbered(5))} == set(range(5))
    assert tasks.made.count("2") == 3
    assert "metrics part 2: its worker or node died (Died); computing it again" in caplog.text


def test_a_call_that_kills_its_workers_ends_the_run(make: Make) -> None:
    calls, tasks = make(deaths={"1": 9}, retries=2)
    with pytest.raises(WorkerLost, match="metrics part 1: its worker died 3 times"):
        list(calls.run(numbered(3)))
    assert tasks.made.count("1") == 3


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (RuntimeError(f"The remote function {IMPORT}. Why\n\nModuleNotFoundError: no polars"),
         ConfigError, r"cannot run crowdselect \(ModuleNotFoundError: no polars\): every node"),
        (ImportError("no polars"), ConfigError, r"\(no polars\): every node needs"),
        (OSError(28, "No space left"), ClusterFailed, "OSError: .*No space left.*run again"),
        (None, ClusterFailed, r"^metrics part 0: Ray ended it \(Other: gone\)"),
    ],
)  # fmt: skip
def test_the_environment_is_blamed_for_imports_alone(
    make: Make, error: Exception | None, kind: type[Exception], words: str
) -> None:
    ended = Other("gone")
    ended.cause = error
    calls, tasks = make(deaths={"0": 1})
    tasks.death = ended
    with pytest.raises(kind, match=words):
        list(calls.run(numbered(1)))


def test_a_run_that_is_stopped_cancels_what_is_pending(make: Make) -> None:
    stops = iter([None, Stopped("now")])

    def check() -> None:
        if error := next(stops):
            raise error

    calls, tasks = make(pending=4, check=check)
    with pytest.raises(Stopped):
        list(calls.run(numbered(9)))
    assert set(tasks.cancelled) == tasks.out
    assert tasks.out


def test_sigterm_amid_ray_cancels_what_is_pending(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(_number: int, _frame: FrameType | None) -> None:
        raise Stopped("by a signal")

    def wait(*_: Any, **__: Any) -> Any:
        """Wait as Ray does: it hands KeyboardInterrupt on, and all else is a SystemError."""
        try:
            if not tasks.cancelled:
                os.kill(os.getpid(), signal.SIGTERM)
        except Exception as e:
            raise SystemError("returned a result with an exception set") from e
        return [], []

    calls, tasks = make(pending=4)
    monkeypatch.setattr(tasks, "wait", wait)
    before = signal.signal(signal.SIGTERM, end)
    try:
        with pytest.raises(Stopped, match="by a signal"):
            list(calls.run(numbered(9)))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert set(tasks.cancelled) == tasks.out
    assert tasks.out


def test_a_reader_that_goes_away_cancels_what_is_pending(make: Make) -> None:
    calls, tasks = make(pending=4)
    answers = calls.run(numbered(9))
    next(answers)
    answers.close()
    assert set(tasks.cancelled) == tasks.out
    assert tasks.out


def test_parts_take_what_the_stage_or_the_config_says(make: Make) -> None:
    gpus = [{"CPU": 8.0}, {"CPU": 8.0, "GPU": 4.0}]
    _, tasks = make(needs=Needs(gpu=True), nodes=gpus)
    assert (tasks.options_["num_cpus"], tasks.options_["num_gpus"]) == (1, 1)
    _, tasks = make(needs=Needs(gpu=True))
    assert tasks.options_["num_gpus"] == 0
    _, tasks = make(needs=Needs(memory=5))
    assert tasks.options_["memory"] == 5
    own = {"metrics": PartResources(cpus=2, gpus=0.25, memory=10)}
    _, tasks = make(needs=Needs(gpu=True, memory=5), nodes=gpus, resources=own)
    taken = [tasks.options_[name] for name in ("num_cpus", "num_gpus", "memory", "max_retries")]
    assert taken == [2, 0.25, 10, 0]


def test_nodes_have_room_for_calls_of_several_gpus(make: Make) -> None:
    gpus = [{"CPU": 8.0}, {"CPU": 8.0, "GPU": 4.0}, {"CPU": 3.0, "GPU": 5.0}]
    training = Needs(cpus=2, gpu=True, gpus=2)
    _, tasks = make(needs=training, nodes=gpus)
    assert (tasks.options_["num_cpus"], tasks.options_["num_gpus"]) == (2, 2)
    assert calls_module.room("training", ExecutorConfig(kind="ray"), training) == 2 + 1
    make(nodes=[{"CPU": 8.0}, {"CPU": 3.0}])
    assert calls_module.room("training", ExecutorConfig(kind="ray"), training) == 4 + 1


def test_what_no_node_has_is_said_and_waited_for(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    own = {"metrics": PartResources(cpus=64)}
    calls, _ = make(resources=own)
    assert {call.index for call, _ in calls.run(numbered(2))} == {0, 1}
    assert "no node of the Ray cluster has 64 CPU, which one part takes" in caplog.text
    monkeypatch.setattr(calls_module, "PATIENCE", -1.0)
    monkeypatch.setattr(calls_module, "time", SimpleNamespace(monotonic=lambda: 0.0))
    calls, _ = make(resources=own)
    calls._look_for_room()
    with pytest.raises(ConfigError, match="for -1 s no node of the Ray cluster had 64 CPU"):
        calls._look_for_room()
