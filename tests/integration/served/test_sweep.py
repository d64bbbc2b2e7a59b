"""Runs whose process died are marked Crashed and hold no slot; runs that live are left alone."""

import signal
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from command import Command
from deployed import Deployed
from endpoints import model, serving, write_work

pytestmark = pytest.mark.server

SILENCE = 60  # seconds; a living run's heartbeat comes every 30, later on a busy machine


@pytest.fixture
def impatient(served: Deployed) -> Iterator[Deployed]:
    """The server, whose automation starts a sweep as soon as a run may count as dead."""
    [automation] = [a for a in served.post("/automations/filter", {})
                    if a["name"] == "crowdselect-heartbeat-missing"]  # fmt: skip
    path = f"/automations/{automation['id']}"
    usual = {k: automation[k] for k in ("name", "description", "enabled", "trigger", "actions")}
    body = deepcopy(usual)
    body["trigger"]["within"] = SILENCE + 5
    body["actions"][0]["parameters"] = {"silence": SILENCE}
    served.call("PUT", path, body)
    yield served
    served.call("PUT", path, usual)


def slots(server: Deployed, name: str) -> int:
    """How many slots of a limit are taken."""
    limits = server.post("/v2/concurrency_limits/filter", {})
    return int(next(one["active_slots"] for one in limits if one["name"] == name))


def of_no_deployment(server: Deployed) -> list[dict[str, Any]]:
    """The selections that somebody started by hand and that run; a schedule may start others."""
    runs = [r for r in server.runs("select") if r["deployment_id"] is None]
    return [r for r in runs if r["state"]["type"] == "RUNNING"]


def kill_worker_and_run(server: Deployed, run: dict[str, Any]) -> None:
    """End the worker and the process of one of its runs as a power cut would."""
    worker, engine = server.worker(), server.engine(run)
    worker.send_signal(signal.SIGSTOP)  # so that it cannot tell the end of the run
    engine.kill()
    worker.kill()
    _, left = psutil.wait_procs([worker, engine], timeout=240)
    assert not left


def test_a_run_that_died_is_crashed_and_its_slots_are_free(
    impatient: Deployed, command: Command, tmp_path: Path
) -> None:
    server = impatient
    with serving(tmp_path / "endpoint", "--delay", "60000") as slow:
        crowd = [model("a", 1, slow.url, engine={"base_url": [slow.url]})]
        path = write_work(tmp_path / "work", 20, crowd)
        config: dict[str, Any] = yaml.safe_load(path.read_text())
        del config["reward_models"]  # a function, which a deployment does not run
        config |= {n: str(path.parent / config[n]) for n in ("store", "out")}
        config["dataset"] = {"path": str(path.parent / config["dataset"])}
        dead = server.run("generate/generate", config=config)
        limit = f"deployment:{server.deployment('generate/generate')['id']}"
        taken = (limit, "tag:engine-openai")
        server.until(lambda: slow.asked and [slots(server, name) for name in taken] == [1, 1])
        kill_worker_and_run(server, dead)
        assert server.get(f"/flow_runs/{dead['id']}")["state"]["type"] == "RUNNING"

    living = command.within(tmp_path / "living")
    where = {"PREFECT_API_URL": server.api}
    with living.start("--store", "store", "--out", "out", env=where, slow="30") as process:
        [alive] = server.until(lambda: of_no_deployment(server))
        found = server.ended(dead)
        assert found["state"]["type"] == "CRASHED"
        assert found["state"]["message"] == "no heartbeat: its process died"
        assert process.poll() is None
        assert server.get(f"/flow_runs/{alive['id']}")["state"]["type"] == "RUNNING"
        of_it = {"flow_runs": {"id": {"any_": [dead["id"]]}}}
        server.until(
            lambda: (
                {(t["state"] or {}).get("type") for t in server.post("/task_runs/filter", of_it)}
                == {"COMPLETED", "CRASHED"}
            )
        )
        assert slots(server, limit) == 0
        server.until(lambda: slots(server, "tag:engine-openai") == 0)
    sweeps = [r for r in server.runs("sweep") if r["created_by"]["type"] == "AUTOMATION"]
    assert sweeps, "nobody asked for the sweep"
