"""A vLLM server on a node of a Ray cluster: the actor that starts it there, watches it and ends it.

Requests and answers are JSON, as those of `worker`. The server makes its own key, which goes to the
run in an answer and is written nowhere. When the actor ends, however it does, the server's guard
ends the server; Ray ends the actor when the run or the node is gone.
"""

import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from crowdselect_core.cluster.entry import hide_gpus
from crowdselect_core.cluster.outcome import answered
from crowdselect_core.config.engine import VllmEngineConfig
from crowdselect_core.errors import ConfigError
from crowdselect_core.generate.vllm.command import LOCAL, find_model, interpreter
from crowdselect_core.generate.vllm.host import Launch
from crowdselect_core.generate.vllm.server import VllmServer, free_port, new_log
from crowdselect_core.models.hub import model_identity
from crowdselect_core.util.versions import version_of

LOOK = 0.2  # seconds between two looks at the server
EVERYWHERE = "0.0.0.0"  # noqa: S104 - where the node cannot listen on the address it is known by

log = logging.getLogger("crowdselect")


def request(launch: Launch, **what: Any) -> str:
    """Return what `check` and `ServerHost.start` are asked, as JSON.

    Args:
        launch: what is started.
        what: `subject` for a check; for a start `weights` (the model's identity where the run is),
            `node` (the id of the run's) and `again`, see `VllmServer.ready`.
    """
    told = {**asdict(launch), "config": launch.config.model_dump(mode="json")}
    place = {"cwd": str(Path.cwd()), "version": version_of("crowdselect")}
    return json.dumps({"launch": told, **place, **what})


def check(asked: str) -> str:
    """See on a node that vLLM and the model are there; see `outcome.answered`."""

    def work() -> None:
        told = json.loads(asked)
        launch = _launch(told)
        interpreter(told["subject"], launch.config)
        find_model(told["subject"], launch.model, launch.revision)

    return answered(_address(), work)


class ServerHost:
    """The actor of one server; `watch` and `end` are called while `start` or `watch` runs."""

    def __init__(self) -> None:
        self._server: VllmServer | None = None

    def start(self, asked: str) -> str:
        """Start the server, wait until it answers, and tell its address, key and log."""
        return answered(_address(), lambda: self._start(json.loads(asked)))

    def watch(self) -> str:
        """Wait until the server has ended, and tell its exit code and last words."""
        return answered(_address(), self._watch)

    def end(self) -> None:
        """End the server, which may be starting."""
        if self._server is not None:
            self._server.end()

    def _start(self, asked: Mapping[str, Any]) -> dict[str, str]:
        import ray

        launch = _launch(asked)
        if model_identity(launch.model, launch.revision) != asked["weights"]:
            raise ConfigError(
                f"this node's model {launch.model!r} is another one than the run's: use a hub id "
                "with a revision, or a folder that every node mounts"
            )
        context = ray.get_runtime_context()
        here = context.get_node_id() == asked["node"]
        address = LOCAL if here else _address()
        place = new_log(launch.name, None)
        gpus = [str(gpu) for gpu in ray.get_gpu_ids()]
        hide_gpus(ray)
        server = VllmServer(launch, gpus=gpus, log=place, host=_listening(address), apart=True)
        self._server = server
        try:
            server.start()
            server.ready(again=asked["again"])
        except BaseException:
            server.end()
            raise
        return {"url": server.url_at(address), "key": server.api_key, "log": str(place)}

    def _watch(self) -> list[Any]:
        server = self._server
        if server is None:
            raise RuntimeError("no server was started")
        while server.runs():
            time.sleep(LOOK)
        server.end()
        return [server.exit_code, server.last_words()]


def _launch(asked: Mapping[str, Any]) -> Launch:
    """Read what is to be started; relative paths mean what they mean to the run."""
    here = version_of("crowdselect")
    if here != asked["version"]:
        raise ConfigError(
            f"this node has crowdselect {here}, not {asked['version']}: install on every node what "
            "the run's process has"
        )
    if Path(asked["cwd"]).is_dir():
        os.chdir(asked["cwd"])
    told = dict(asked["launch"])
    config = VllmEngineConfig.model_validate(told.pop("config"))
    return Launch(**{**told, "config": config, "extra": tuple(told["extra"])})


def _address() -> str:
    import ray

    address: Callable[[], str] = ray.util.get_node_ip_address  # Ray leaves it without types
    return address()


def _listening(address: str) -> str:
    """Return the address to listen on: this one, where the node has it."""
    try:
        free_port(address)
    except OSError as e:
        log.warning(
            "the node has no interface with its address %s (%s): the server listens on all of them",
            address, e.strerror,
        )  # fmt: skip
        return EVERYWHERE
    return address
