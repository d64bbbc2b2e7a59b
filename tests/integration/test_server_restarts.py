"""`make server` ended, killed and started again: what a team set and what ran is still there."""

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from command import ROOT
from deployed import KEYS, SECONDS, Deployed, launch, new_ports
from prefects import lay_database
from servers import LOCAL, quiet_environment

pytestmark = pytest.mark.server


def is_fresh(server: Deployed) -> None:
    """A new deployment has the file's schedules, and the sample where Quick run is for it."""
    assert server.deployment("generate/generate")["parameters"] == {}
    assert server.deployment("select/select")["schedules"] == []
    reselect = server.deployment("reselect/reselect")
    assert reselect["parameters"]["config"]["series"] == "sample"
    assert [(s["slug"], s["active"]) for s in reselect["schedules"]] == [("nightly", False)]
    [sweep] = server.deployment("sweep/sweep")["schedules"]
    assert (sweep["schedule"]["interval"], sweep["active"]) == (600, True)


def set_by_a_team(server: Deployed) -> None:
    """Do what a team does in the UI: parameters, schedules, a pause, a trigger that is off."""
    reselect = server.deployment("reselect/reselect")
    path = f"/deployments/{reselect['id']}"
    config = reselect["parameters"]["config"] | {"series": "theirs", "budget": 7}
    server.call("PATCH", path, {"parameters": {"config": config}})
    [nightly] = reselect["schedules"]
    cron = {"cron": "30 4 * * *", "timezone": "UTC"}
    body = {"active": True, "schedule": cron}
    server.call("PATCH", f"{path}/schedules/{nightly['id']}", body)
    theirs = [{"schedule": {"interval": 86400}, "active": False}]  # without a slug, as the UI's are
    for name in ("reselect/reselect", "generate/generate"):
        server.post(f"/deployments/{server.deployment(name)['id']}/schedules", theirs)
    sweep = server.deployment("sweep/sweep")
    server.call("DELETE", f"/deployments/{sweep['id']}/schedules/{sweep['schedules'][0]['id']}")
    server.call("PATCH", f"/deployments/{server.deployment('score/score')['id']}", {"paused": True})
    [arrived] = automations(server, "crowdselect-dataset-arrived")
    server.call("PATCH", f"/automations/{arrived['id']}", {"enabled": False})


def is_as_the_team_set_it(server: Deployed) -> None:
    """All of that is there, and the rest as it was."""
    reselect = server.deployment("reselect/reselect")
    config = reselect["parameters"]["config"]
    assert (config["series"], config["budget"]) == ("theirs", 7)
    found = {(s["slug"], s["active"], s["schedule"].get("cron")) for s in reselect["schedules"]}
    assert found == {("nightly", True, "30 4 * * *"), (None, False, None)}
    [theirs] = server.deployment("generate/generate")["schedules"]
    assert (theirs["schedule"]["interval"], theirs["active"]) == (86400, False)
    assert server.deployment("sweep/sweep")["schedules"] == []
    assert server.deployment("score/score")["paused"]
    assert not server.deployment("select/select")["paused"]
    [arrived] = automations(server, "crowdselect-dataset-arrived")
    [missing] = automations(server, "crowdselect-heartbeat-missing")
    assert (arrived["enabled"], missing["enabled"]) == (False, True)
    assert arrived["actions"][0]["deployment_id"] == reselect["id"]


def automations(server: Deployed, name: str = "") -> list[dict[str, Any]]:
    """The automations of a name, or all."""
    body = {"automations": {"name": {"any_": [name]}}} if name else {}
    return list(server.post("/automations/filter", body))


def deployed_again(server: Deployed) -> "subprocess.CompletedProcess[str]":
    """Run `make deploy` for the server."""
    command = [sys.executable, "-m", "deployments.deploy"]
    env = server.environment | {"PREFECT_API_URL": server.api}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def test_what_a_team_set_and_what_ran_outlive_an_orderly_end_and_a_kill(tmp_path: Path) -> None:
    ports = new_ports()
    lay_database(tmp_path / "state" / "prefect")
    server = Deployed.start(tmp_path / "state", ports)
    is_fresh(server)
    run = server.ended(server.run("select/select"))
    set_by_a_team(server)
    triggers = {a["name"]: a["id"] for a in automations(server)}
    generate = server.deployment("generate/generate")
    changed = {"description": "old", "tags": [], "concurrency_limit": 9}
    server.call("PATCH", f"/deployments/{generate['id']}", changed)
    assert server.stop() == 0

    server = Deployed.start(tmp_path / "state", ports)
    is_as_the_team_set_it(server)
    assert {a["name"]: a["id"] for a in automations(server)} == triggers, "changed in place"
    again = server.deployment("generate/generate")
    for key in ("id", "description", "tags", "job_variables", "parameter_openapi_schema"):
        assert again[key] == generate[key], key
    assert again["global_concurrency_limit"]["limit"] == 2, "the rest is the file's"
    kill(server)

    server = Deployed.start(tmp_path / "state", ports)
    try:
        assert server.get(f"/flow_runs/{run['id']}")["state"]["type"] == "COMPLETED"
        second = server.ended(server.run("select/select"))
        assert "Cached" in server.tasks(second).values(), "the bucket is the same"
        is_as_the_team_set_it(server)
        deploy_what_does_not_fit(server, again)
    finally:
        assert server.stop() == 0


def kill(server: Deployed) -> None:
    """End the server as a power cut would; nothing that it started is left."""
    family = server.family()
    assert len(family) >= 6, "three parts and their guards"
    server.process.kill()
    server.process.wait()
    _, left = psutil.wait_procs(family, timeout=240)
    assert not left


def deploy_what_does_not_fit(server: Deployed, generate: dict[str, Any]) -> None:
    """Deploy once more, with a deployment that is gone and parameters that do not fit."""
    server.call("DELETE", f"/deployments/{server.deployment('select/select')['id']}")
    unfit = {"config": {"clusters": -1}}
    lax = {"parameter_openapi_schema": {"type": "object", "properties": {}}}
    server.call("PATCH", f"/deployments/{generate['id']}", lax | {"parameters": unfit})
    done = deployed_again(server)
    assert done.returncode == 2, done.stderr
    [error] = [n for n in done.stderr.splitlines() if n.startswith("error: ")]
    assert error.startswith("error: deployment generate: its parameters do not fit this version")
    assert "config.clusters" in error
    assert server.deployment("generate/generate")["parameters"] == unfit, "not lost either"
    is_as_the_team_set_it(server)
    assert server.deployment("select/select")["parameters"] == {}, "new, and the file's"


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    port, s3_port = new_ports()
    with socket.socket() as taken:
        taken.bind((LOCAL, s3_port + 200))
        taken.listen()
        process = launch(tmp_path / "state", port, s3_port, quiet_environment(tmp_path) | KEYS)
        assert process.wait(timeout=SECONDS) == 2
    [line] = (tmp_path / "said").read_text().splitlines()
    assert line.startswith(f"error: port {s3_port + 200} of the object store (volume) is taken")
    assert line.endswith("or pass another --s3-port")
