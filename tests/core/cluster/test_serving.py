"""Servers on a cluster: what they take, and what happens when they or their nodes die.

In place of Ray stands a list of what became of its actors; the real one is in test_ray_servers.py.
"""

import json
import logging
from types import SimpleNamespace
from typing import Any

import pytest

from crowdselect_core.cluster import remote_server, server_host, server_nodes, serving
from crowdselect_core.cluster.remote_server import Replica
from crowdselect_core.cluster.server_nodes import ServerNodes
from crowdselect_core.config.engine import VllmEngineConfig
from crowdselect_core.config.executor import ExecutorConfig
from crowdselect_core.errors import ConfigError
from crowdselect_core.generate.base import EngineDown
from crowdselect_core.generate.vllm.host import Launch

RAY = ExecutorConfig(kind="ray")
KEY = "MARKED-key-of-a-server"
PENDING = "pending"


class Lost(Exception):
    """A node died."""


class Cannot(Exception):
    """A worker cannot run the code."""

    cause = ImportError("No module named 'crowdselect_core'")


def answer(result: Any = None, error: str | None = None, words: str = "") -> str:
    return json.dumps({"node": "10.0.0.2", "lines": [], "result": result, "error": error,
                       "words": words})  # fmt: skip


class Actors:
    """What stands for the module ray: an actor is a pair, what its start and its watch come to.

    PENDING never ends, an exception is raised, anything else is answered.
    """

    def __init__(self, *fates: tuple[Any, Any], nodes: list[dict[str, float]]) -> None:
        self.fates, self._nodes = list(fates), nodes
        self.exceptions = SimpleNamespace(RayError=Exception, RayTaskError=Cannot)
        self.options_: dict[str, Any] = {}
        self.asked: list[dict[str, Any]] = []
        self.killed = 0

    def get_runtime_context(self) -> Any:
        return SimpleNamespace(get_node_id=lambda: "here")

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": node} for node in self._nodes]

    def remote(self, kind: Any = None) -> Any:
        if kind is not None:
            return self
        start, watch = self.fates.pop(0)

        def started(request: str) -> Any:
            self.asked.append(json.loads(request))
            return start

        called = {"start": started, "watch": lambda: watch, "end": lambda: "ended"}
        return SimpleNamespace(**{n: SimpleNamespace(remote=f) for n, f in called.items()})

    def options(self, **options: Any) -> "Actors":
        self.options_ = options
        return self

    def wait(self, refs: list[Any], timeout: float, num_returns: int = 1) -> Any:
        return [ref for ref in refs if ref is not PENDING], []

    def get(self, ref: Any, timeout: float | None = None) -> Any:
        if isinstance(ref, Exception):
            raise ref
        return ref

    def kill(self, actor: Any) -> None:
        self.killed += 1


UP = answer({"url": "http://10.0.0.2:8000", "key": KEY, "log": "/tmp/vllm.log"})
ENDED = answer([137, "the log names no error"])
CPUS: list[dict[str, float]] = [{"CPU": 1}]


def nodes_of(
    ray: Actors, monkeypatch: pytest.MonkeyPatch, executor: ExecutorConfig = RAY, **keys: Any
) -> ServerNodes:
    monkeypatch.setattr(server_nodes, "connect", lambda address: ray)
    monkeypatch.setattr(remote_server, "model_identity", lambda model, revision: "sha256:0")
    return ServerNodes(executor, VllmEngineConfig(kind="vllm", model="m", **keys), "server")


def replica_of(ray: Actors, monkeypatch: pytest.MonkeyPatch, **keys: Any) -> Replica:
    nodes = nodes_of(ray, monkeypatch, ExecutorConfig(kind="ray", retries=1), **keys)
    config = VllmEngineConfig(kind="vllm", model="m", **keys)
    return Replica(nodes, Launch("m", config, "m", None), "replica")


def start(replica: Replica) -> Any:
    return replica.started(lambda: False, lambda: False)


@pytest.mark.parametrize(
    ("node", "own", "takes"),
    [
        ({"CPU": 8.0}, {}, (1, 0, None)),
        ({"CPU": 8.0, "GPU": 8.0}, {}, (1, 6, None)),  # 2 x 3; the 4 replicas are servers
        ({"CPU": 8.0, "GPU": 8.0}, {"cpus": 2, "gpus": 0.5, "memory": 9}, (2, 0.5, 9)),
        ({"CPU": 8.0, "GPU": 8.0}, {"gpus": 0}, (1, 0, None)),
    ],
)
def test_a_server_takes_the_gpus_of_one_replica(
    monkeypatch: pytest.MonkeyPatch,
    node: dict[str, float],
    own: dict[str, Any],
    takes: tuple[float, float, int | None],
) -> None:
    executor = ExecutorConfig.model_validate({"kind": "ray", "resources": {"vllm": own}})
    sizes = {"tensor_parallel_size": 2, "pipeline_parallel_size": 3, "data_parallel_size": 4}
    nodes = nodes_of(Actors(nodes=[node]), monkeypatch, executor, **sizes)
    found = nodes.options
    assert (found["num_cpus"], found["num_gpus"], found["memory"]) == takes
    engine = VllmEngineConfig(kind="vllm", **sizes)
    assert serving.placed(executor, engine) == "4 vLLM servers on the Ray cluster"
    assert serving.placed(ExecutorConfig(), engine) is None


def test_no_room_is_said_at_once_and_ends_a_run_without_servers_in_the_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [1000.0]
    monkeypatch.setattr(server_nodes, "time", SimpleNamespace(monotonic=lambda: now[0]))
    nodes = nodes_of(Actors(nodes=[{"CPU": 4}, {"GPU": 1}]), monkeypatch, tensor_parallel_size=2)
    with caplog.at_level(logging.WARNING, "crowdselect"):
        nodes.look(serving=False)
    assert "no node of the Ray cluster has 1 CPU, 2 GPU" in caplog.text
    now[0] += server_nodes.PATIENCE + 1
    nodes.look(serving=True)  # the others work
    now[0] += server_nodes.LOOK
    with pytest.raises(ConfigError, match=r"1 CPU, 2 GPU.*executor\.resources\.vllm"):
        nodes.look(serving=False)


def test_a_server_whose_node_dies_is_placed_again_and_not_for_ever(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ray = Actors((UP, Lost("node")), (Lost("node"), PENDING), nodes=CPUS)
    replica = replica_of(ray, monkeypatch)
    server = start(replica)
    assert (server.base_url, server.api_key) == ("http://10.0.0.2:8000", KEY)
    assert server.down()
    with caplog.at_level(logging.WARNING, "crowdselect"):
        replica.died(7)
    assert "worker or node died (Lost) with 7 requests" in caplog.text
    assert "try 1 of 1" in caplog.text
    with pytest.raises(EngineDown, match=r"died 2 times .Lost: node."):
        start(replica)
    assert [asked["again"] for asked in ray.asked] == [False, True]
    assert ray.killed == 2
    assert KEY not in caplog.text
    assert not any(KEY in json.dumps(asked) for asked in ray.asked)


def test_a_server_that_ends_on_its_node_is_restarted_as_often_as_the_engine_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    again = answer(error="EngineDown", words="died, and again ended before it was ready")
    ray = Actors((UP, ENDED), (again, PENDING), (UP, ENDED), nodes=CPUS)
    replica = replica_of(ray, monkeypatch, restarts=2)
    assert start(replica).gone()
    replica.died(0)  # and the next start fails, which is its second death
    assert start(replica).gone()
    with pytest.raises(EngineDown, match=r"died 3 times .restarts: 2.*137: the log names no"):
        replica.died(0)
    assert ray.killed == 3


def test_what_a_node_refuses_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = answer(error="ConfigError", words="python: '/none' is no program")
    replica = replica_of(Actors((refused, PENDING), nodes=CPUS), monkeypatch)
    with pytest.raises(ConfigError, match=r"'/none' is no program .on Ray node 10\.0\.0\.2."):
        start(replica)
    replica = replica_of(Actors((Cannot("x"), PENDING), nodes=CPUS), monkeypatch)
    with pytest.raises(ConfigError, match="every node needs the environment"):
        start(replica)


def test_a_server_that_is_not_wanted_any_more_goes_on_starting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ray = Actors((PENDING, PENDING), nodes=CPUS)
    replica = replica_of(ray, monkeypatch)
    wanted = iter([False, True])  # until its actor has been made
    assert replica.started(lambda: next(wanted), lambda: True) is None
    assert replica.started(lambda: True, lambda: True) is None
    assert len(ray.asked) == 1
    replica.close()
    assert ray.killed == 1


def test_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_host, "_address", lambda: "10.0.0.2")
    asked = json.loads(
        server_host.request(Launch("m", VllmEngineConfig(kind="vllm"), "m", None), subject="m")
    )
    told = json.loads(server_host.check(json.dumps({**asked, "version": "0.0.0"})))
    assert told["error"] == "ConfigError"
    assert "not 0.0.0" in told["words"]
