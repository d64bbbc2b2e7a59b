"""Runs whose process died are marked Crashed and hold no slot; runs that live are left alone."""

import signal
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from command import Command
from deployed import Deployed
from endpoints import model, serving, write_work

pytestmark = pytest.mark.server

SILENCE = 40  # seconds; the shortest that the sweep takes


@pytest.fixture
def impatient(served: Deployed) -> Deployed:
    """The server, whose automation starts a sweep soon; it does so for living runs as well."""
    [automation] = [a for a in served.post("/automations/filter", {})
                    if a["name"] == "crowdselect-heartbeat-missing"]  # fmt: skip
    automation["trigger"]["within"] = 10
    automation["actions"][0]["parameters"] = {"silence": SILENCE}
    body = {k: automation[k] for k in ("name", "description", "enabled", "trigger", "actions")}
    served.call("PUT", f"/automations/{automation['id']}", body)
    return served


def slots(server: Deployed, name: str) -> int:
    """How many slots of a limit are taken."""
    limits = server.post("/v2/concurrency_limits/filter", {})
    return int(next(one["active_slots"] for one in limits if one["name"] == name))


def kill_worker_and_run(server: Deployed) -> None:
    """End the worker and the process of its run as a power cut would."""
    family = server.family()
    [worker] = [p for p in family if "worker" in p.cmdline() and "-I" not in p.cmdline()]
    [run] = [p for p in family if "prefect.engine" in p.cmdline()]
    worker.send_signal(signal.SIGSTOP)  # so that it cannot tell the end of the run
    run.kill()
    worker.kill()
    psutil.wait_procs([worker, run], timeout=10)


def test_a_run_that_died_is_crashed_and_its_slots_are_free(
    impatient: Deployed, command: Command, tmp_path: Path
) -> None:
    server = impatient
    with serving(tmp_path / "endpoint", "--delay", "60000") as slow:
        crowd = [model("a", 1, slow.url, engine={"base_url": [slow.url]})]
        path = write_work(tmp_path / "work", 20, crowd)
        config: dict[str, Any] = yaml.safe_load(path.read_text())
        config |= {n: str(path.parent / config[n]) for n in ("store", "out")}
        config["dataset"] = {"path": str(path.parent / config["dataset"])}
        dead = server.run("generate/generate", config=config)
        limit = f"deployment:{server.deployment('generate/generate')['id']}"
        taken = (limit, "tag:engine-openai")
        server.until(lambda: slow.asked and [slots(server, name) for name in taken] == [1, 1])
        kill_worker_and_run(server)
        assert server.get(f"/flow_runs/{dead['id']}")["state"]["type"] == "RUNNING"

    living = command.within(tmp_path / "living")
    where = {"PREFECT_API_URL": server.api}
    with living.start("--store", "store", "--out", "out", env=where, slow="20") as process:
        server.until(lambda: [r for r in server.runs("select") if r["state"]["type"] == "RUNNING"])
        [alive] = [r for r in server.runs("select") if r["state"]["type"] == "RUNNING"]
        found = server.ended(dead, 150)
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
