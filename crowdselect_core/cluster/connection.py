"""The connection of this process to a Ray cluster, made once and kept to the end of the process."""

import logging
import os
import threading
import time
from typing import Any

from crowdselect_core.cluster.address import Address, address_of, check_reachable, unreachable
from crowdselect_core.cluster.interrupts import keep_own
from crowdselect_core.errors import ConfigError, first_line
from crowdselect_core.util.extras import install

log = logging.getLogger("crowdselect")

# Seconds to connect. Where no Ray answers, Ray itself ends the process after 60, without a word.
CONNECT = 45.0
MODE, TOKEN = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"
LOOK = 0.05  # seconds between two looks whether it has connected

_lock = threading.Lock()
_connected: str | None = None  # the address


def connect(address: str | None) -> Any:
    """Connect to a cluster, unless that is done; return the module ray.

    Args:
        address: HOST:PORT of the head node; None: RAY_ADDRESS, else the cluster of this machine.

    Raises:
        ConfigError: Ray is not installed, RAY_ADDRESS is no address that is taken, no Ray cluster
            lets this process in there, or the process is connected to another cluster.
    """
    global _connected
    wanted = address_of(address)
    ray = _library()
    with _lock:
        if _connected is not None and ray.is_initialized():
            if _connected != wanted.text:
                raise ConfigError(
                    f"{wanted}: this process is connected to {_connected!r}; "
                    "start a process for each cluster"
                )
            return ray
        check_reachable(wanted)
        _join(ray, wanted)
        _connected = wanted.text
        nodes = [node for node in ray.nodes() if node["Alive"]]
        log.info("connected to Ray at %s, nodes: %d", wanted.text, len(nodes))
    return ray


def _library() -> Any:
    try:
        import ray
    except ImportError as e:
        raise ConfigError(
            f"executor ray needs Ray, which is not installed ({first_line(e)}): {install('ray')}, "
            "here and on every node, or use executor threads"
        ) from None
    return ray


def _join(ray: Any, wanted: Address) -> None:
    """Connect in a thread, so that a signal is heeded meanwhile.

    In the main thread Ray would take the handler of SIGTERM, and end the process by its own. Its
    native part takes it all the same, once, and ends the process by SIGABRT.
    """
    failed: list[BaseException] = []

    def work() -> None:
        try:
            ray.init(
                address=wanted.text, log_to_driver=False, configure_logging=False,
                logging_level=logging.ERROR,
            )  # fmt: skip
        except BaseException as e:  # whatever it is: the thread that waits raises it
            failed.append(e)

    # says that the handler of SIGTERM is not taken
    logging.getLogger("ray._private.worker").setLevel(logging.ERROR)
    thread = threading.Thread(target=work, name="ray-connect", daemon=True)
    thread.start()
    end = time.monotonic() + CONNECT
    while thread.is_alive():
        thread.join(LOOK)
        keep_own()
        if thread.is_alive() and time.monotonic() > end:
            raise _refused(wanted, f"no answer in {CONNECT:g} s")
    keep_own()
    if failed:
        raise _told(ray, wanted, failed[0]) from None


def _told(ray: Any, wanted: Address, error: BaseException) -> BaseException:
    """Return what to raise for an error of Ray's; one that is no connection's as it is."""
    if isinstance(error, ray.exceptions.AuthenticationError):
        return ConfigError(
            f"{wanted}: {MODE} is {os.environ.get(MODE)!r}, and Ray takes no token of this process "
            f"({first_line(error, 80)}): set {TOKEN} to the file with the cluster's token, or copy "
            "it to ~/.ray/auth_token"
        )
    if isinstance(error, ConnectionError) and "Failed to connect" in str(error):
        return _refused(wanted, first_line(error))
    if isinstance(error, ConnectionError | RuntimeError | ValueError | ray.exceptions.RayError):
        return unreachable(wanted, first_line(error))
    return error


def _refused(wanted: Address, why: str) -> ConfigError:
    """Return what to raise where something listens that lets no driver in."""
    mode = os.environ.get(MODE)
    has = (
        f"{MODE} is token here, so see that {TOKEN} (or RAY_AUTH_TOKEN, or ~/.ray/auth_token) has "
        "the cluster's token"
        if mode == "token"
        else f"{MODE} is {repr(mode) if mode else 'not set'} here, so set it to token, and {TOKEN} "
        "to the file with the cluster's token, if the cluster asks for one"
    )
    return ConfigError(
        f"{wanted}: what listens there does not take this process into a Ray cluster ({why}): "
        f"{has}; else see that it is the head node of Ray's own version"
    )
