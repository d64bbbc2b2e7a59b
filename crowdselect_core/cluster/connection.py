"""The connection of this process to a Ray cluster, made once and kept to the end of the process."""

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from crowdselect_core.config.executor import AUTO, address_problem
from crowdselect_core.errors import ConfigError, first_line
from crowdselect_core.util.extras import install

log = logging.getLogger("crowdselect")

REACHED = 10.0  # seconds to reach a head node; Ray itself tries for minutes and says nothing

_lock = threading.Lock()
_connected: str | None = None  # the address


def connect(address: str | None) -> Any:
    """Connect to a cluster, unless that is done; return the module ray.

    Args:
        address: HOST:PORT of the head node; None: RAY_ADDRESS, else the cluster of this machine.

    Raises:
        ConfigError: Ray is not installed, RAY_ADDRESS is no address that is taken, nothing answers
            there, or the process is connected to another cluster.
    """
    global _connected
    wanted = address or _of_environment() or AUTO
    try:
        import ray
    except ImportError as e:
        raise ConfigError(
            f"executor ray needs Ray, which is not installed ({first_line(e)}): {install('ray')}, "
            "here and on every node, or use executor threads"
        ) from None
    with _lock:
        if _connected is not None and ray.is_initialized():
            if _connected != wanted:
                raise ConfigError(
                    f"executor.address {wanted!r}: this process is connected to {_connected!r}; "
                    "start a process for each cluster"
                )
            return ray
        _check_reachable(wanted)
        try:
            with _own_signals():
                ray.init(
                    address=wanted, log_to_driver=False, configure_logging=False,
                    logging_level=logging.ERROR,
                )  # fmt: skip
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as e:
            raise _unreachable(wanted, first_line(e)) from None
        _connected = wanted
        module: Any = ray
        nodes = [node for node in module.nodes() if node["Alive"]]
        log.info("connected to Ray at %s, nodes: %d", wanted, len(nodes))
    return ray


def _of_environment() -> str | None:
    found = os.environ.get("RAY_ADDRESS")
    if found and (problem := address_problem(found)):
        raise ConfigError(f"RAY_ADDRESS in the environment: {problem}")
    return found


def _check_reachable(address: str) -> None:
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal():
        return  # auto: Ray knows
    try:
        socket.create_connection((host, int(port)), timeout=REACHED).close()
    except (OSError, OverflowError) as e:
        raise _unreachable(address, first_line(e)) from None


def _unreachable(address: str, why: str) -> ConfigError:
    return ConfigError(
        f"executor.address {address!r}: no Ray cluster can be reached there ({why}): start one by "
        "`ray start --head`, run on one of its nodes, or use executor threads"
    )


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep what this process does on SIGTERM: Ray's own handler would end it without a word."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
