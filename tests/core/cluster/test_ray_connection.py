"""How this process comes to a Ray cluster, and what is said where it does not.

In place of Ray stands a module that connects as it is told; the real one is in test_ray.py.
"""

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import pytest
from little import CROWD, REWARD, parquet, rows
from servers import LOCAL, free_port

from crowdselect_core.cluster import connection, executor_check
from crowdselect_core.cluster.address import address_of, check_reachable
from crowdselect_core.cluster.interrupts import interruptible
from crowdselect_core.config.load import load
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import ConfigError
from crowdselect_core.planning.dry_run import executor_line

Joins = Callable[[Callable[[], object]], str]


class Ended(BaseException):
    """What this process's handler of SIGTERM raises, as Prefect's does."""


class AuthenticationError(Exception):
    """What Ray raises where it finds no token."""


@pytest.fixture
def ended() -> Iterator[list[int]]:
    """Handle SIGTERM as a run does; the signals that came."""
    came: list[int] = []

    def end(number: int, _frame: FrameType | None) -> None:
        came.append(number)
        raise Ended

    before = signal.signal(signal.SIGTERM, end)
    yield came
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def joins(monkeypatch: pytest.MonkeyPatch) -> Iterator[Joins]:
    """Return what puts a module in the place of Ray, and tells where it listens."""
    monkeypatch.setattr(connection, "_connected", None)
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)

    def put(init: Callable[[], object]) -> str:
        ray = SimpleNamespace(
            init=lambda **_: init(), is_initialized=lambda: True, nodes=lambda: [{"Alive": True}],
            exceptions=SimpleNamespace(RayError=Exception, AuthenticationError=AuthenticationError),
        )  # fmt: skip
        monkeypatch.setitem(sys.modules, "ray", ray)
        return f"{LOCAL}:{port}"

    with socket.create_server((LOCAL, port := free_port())):
        yield put


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_ends_what_waits_in_ray_as_ctrl_c_does(ended: list[int]) -> None:
    seen: list[BaseException] = []

    def wait() -> None:
        try:
            terminate()
        except KeyboardInterrupt as e:  # the one that Ray's waiting hands on
            seen.append(e)
            raise

    with pytest.raises(Ended), interruptible():
        wait()
    assert (len(seen), ended) == (1, [signal.SIGTERM])
    with pytest.raises(Ended):
        terminate()
    with pytest.raises(KeyboardInterrupt), interruptible():
        raise KeyboardInterrupt
    thread = threading.Thread(target=interruptible().__enter__)
    thread.start()
    thread.join()
    with pytest.raises(Ended):
        terminate()


def test_sigterm_is_heeded_where_what_waited_makes_another_error_of_it(ended: list[int]) -> None:
    def wait() -> None:
        try:
            terminate()
        except KeyboardInterrupt:
            raise OSError("interrupted") from None

    with pytest.raises(Ended), interruptible():
        wait()
    assert ended == [signal.SIGTERM]


def test_sigterm_is_heeded_while_ray_connects(joins: Joins, ended: list[int]) -> None:
    over = threading.Event()

    def init() -> None:
        assert threading.current_thread() is not threading.main_thread()
        terminate()
        over.wait(60)

    address = joins(init)
    try:
        with pytest.raises(Ended):
            connection.connect(address)
    finally:
        over.set()
    assert ended == [signal.SIGTERM]


def test_a_cluster_is_connected_to_once(joins: Joins) -> None:
    times: list[int] = []
    address = joins(lambda: times.append(1))
    connection.connect(address)
    connection.connect(address)
    assert times == [1]
    with pytest.raises(ConfigError, match=r"'10\.0\.0\.1:1': this process is connected to"):
        connection.connect("10.0.0.1:1")


@pytest.mark.parametrize(
    ("mode", "error", "words"),
    [
        (None, ConnectionError("Failed to connect to Ray cluster at h:1"),
         "RAY_AUTH_MODE is not set here, so set it to token, and RAY_AUTH_TOKEN_PATH"),
        ("token", ConnectionError("Failed to connect to Ray cluster at h:1"),
         r"RAY_AUTH_MODE is token here, so see that RAY_AUTH_TOKEN_PATH \(or"),
        ("token", AuthenticationError("no token was found"),
         r"takes no token of this process \(no token was found\): set RAY_AUTH_TOKEN_PATH"),
        (None, RuntimeError("Version mismatch"), r"reached there \(Version mismatch\): start one"),
    ],
)  # fmt: skip
def test_what_keeps_a_run_from_a_cluster_is_said(
    joins: Joins, monkeypatch: pytest.MonkeyPatch,
    mode: str | None, error: Exception, words: str,
) -> None:  # fmt: skip
    def init() -> None:
        raise error

    address = joins(init)
    if mode:
        monkeypatch.setenv("RAY_AUTH_MODE", mode)
    with pytest.raises(ConfigError, match=words):
        connection.connect(address)


def test_a_port_where_no_ray_answers_is_not_waited_for_without_end(
    joins: Joins, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()
    address = joins(lambda: over.wait(60))
    monkeypatch.setattr(connection, "CONNECT", 0.01)
    with pytest.raises(ConfigError, match=r"take this process into a Ray cluster \(no answer in"):
        connection.connect(address)
    over.set()


def test_an_error_names_what_named_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    with pytest.raises(ConfigError, match=rf"^executor\.address '127\.0\.0\.1:{port}': no Ray"):
        check_reachable(address_of(f"127.0.0.1:{port}"))
    with pytest.raises(ConfigError, match=r"^executor\.address 'a\.\.b:6379': no Ray"):
        check_reachable(address_of("a..b:6379"))  # no name that a host can have
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    for own in (None, "auto"):
        with pytest.raises(ConfigError, match=rf"^RAY_ADDRESS '127\.0\.0\.1:{port}': no Ray"):
            check_reachable(address_of(own))
    monkeypatch.delenv("RAY_ADDRESS")
    assert address_of(None).text == "auto"


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("local", "expected HOST:PORT or"),
        ("ray://10.0.0.1:10001", "expected HOST:PORT or"),
        ("u:pw@10.0.0.1:6379", r"auto, found '\*\*\*@10\.0\.0\.1:6379'$"),
        ("10.0.0.1:99999", "expected a port of 1 to 65535, found '10.0.0.1:99999'"),
        ("10.0.0.1:0", "expected a port of 1 to 65535"),
    ],
)
def test_an_address_of_the_environment_is_held_to_the_same(
    address: str, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=words):
        config_of(tmp_path, address=address)
    config = config_of(tmp_path)
    monkeypatch.setenv("RAY_ADDRESS", address)
    for refuses in (executor_check.check_named, executor_line):
        with pytest.raises(ConfigError, match=r"^RAY_ADDRESS in the environment: ") as error:
            refuses(config)
        assert "pw" not in str(error.value)


def test_resources_of_a_stage_that_stays_are_refused(tmp_path: Path) -> None:
    for name, words in [("embedings", "did you mean 'embeddings'"), ("ranking", "is no stage")]:
        with pytest.raises(ConfigError, match=words):
            executor_check.check_named(config_of(tmp_path, resources={name: {"cpus": 2}}))
    for name in ("sketches", "annotations", "vllm", "training", "benchmark-answers"):
        executor_check.check_named(config_of(tmp_path, resources={name: {"memory": "2 GiB"}}))


def test_what_computes_nothing_on_a_cluster_needs_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor_check, "connect", lambda _: pytest.fail("it connects"))
    at = {"kind": "ray", "address": f"127.0.0.1:{free_port()}"}
    for flow, keys in [("report", {}), ("reselect", {"rollback_to": 1}),
                       ("select", {"executor": "threads"})]:  # fmt: skip
        config = load(None, {"out": str(tmp_path), "executor": at, **keys}, {}, flow=flow)
        executor_check.check_port(config)
        executor_check.join(config)


def config_of(folder: Path, **executor: Any) -> SelectConfig:
    given = {
        "dataset": str(parquet(folder / "zoo.parquet", rows(30))), "crowd": CROWD,
        "reward_models": [REWARD], "executor": {"kind": "ray", **executor},
    }  # fmt: skip
    return load(None, given, {})
