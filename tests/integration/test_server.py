"""`make server`: Quick run, schedules, kills, restarts and ends."""

import signal
import socket
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
from command import read
from deployed import KEYS, SECONDS, Deployed, launch, new_ports
from servers import LOCAL, quiet_environment

pytestmark = pytest.mark.server


def test_quick_run_chooses_from_the_sample_into_the_bucket(served: Deployed) -> None:
    run = served.ended(served.run("select/select"))
    assert (run["state"]["type"], run["state"]["name"]) == ("COMPLETED", "Completed")
    files = served.file_system()
    with files.open("crowdselect/out/selection.parquet") as file:
        assert pq.read_table(file).num_rows == 40
    assert {"instructions", "ranking", "export"} <= served.tasks(run).keys()
    again = served.ended(served.run("select/select"))
    assert "Cached" in served.tasks(again).values()


def test_a_value_that_cannot_be_is_refused_before_the_run(served: Deployed) -> None:
    deployment = served.deployment("select/select")
    config = deployment["parameters"]["config"] | {"clusters": -1}
    path = f"/deployments/{deployment['id']}/create_flow_run"
    refused = served.client.post(path, json={"parameters": {"config": config}})
    assert refused.status_code == 409
    assert "config.clusters" in refused.text


def test_limits_protect_gpus_and_endpoints(served: Deployed) -> None:
    limits = {one["name"]: one["limit"] for one in served.post("/v2/concurrency_limits/filter", {})}
    assert limits["tag:gpu"] >= 1
    assert limits["tag:engine-openai"] == 4
    assert served.deployment("generate/generate")["global_concurrency_limit"]["limit"] == 2


def test_a_schedule_starts_a_run_by_itself(served: Deployed) -> None:
    path = f"/deployments/{served.deployment('select/select')['id']}/schedules"
    [schedule] = served.post(path, [{"schedule": {"interval": 20}, "active": True}])
    try:
        [run] = served.until(
            lambda: [r for r in served.runs("select") if r["auto_scheduled"]
                     and r["state"]["type"] == "COMPLETED"][:1]
        )  # fmt: skip
    finally:
        served.call("DELETE", f"{path}/{schedule['id']}")
    assert run["created_by"]["type"] == "SCHEDULE"


def test_a_worker_that_is_killed_is_started_again(served: Deployed) -> None:
    served.worker().send_signal(signal.SIGKILL)
    served.until(lambda: "worker: up again" in served.said)
    assert served.ended(served.run("select/select"))["state"]["type"] == "COMPLETED"


def test_killed_it_leaves_nothing_and_started_again_it_finds_its_runs(tmp_path: Path) -> None:
    ports = new_ports()
    server = Deployed.start(tmp_path / "state", ports)
    run = server.ended(server.run("select/select"))
    family = server.family()
    assert len(family) >= 6, "three parts and their guards"
    server.process.kill()
    server.process.wait()
    _, left = psutil.wait_procs(family, timeout=90)
    assert not left
    server = Deployed.start(tmp_path / "state", ports)
    try:
        assert server.get(f"/flow_runs/{run['id']}")["state"]["type"] == "COMPLETED"
        again = server.ended(server.run("select/select"))
        assert "Cached" in server.tasks(again).values(), "the bucket is the same"
    finally:
        assert server.stop() == 0


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


def test_keys_are_nowhere_in_its_state(served: Deployed) -> None:
    marks = [value.encode() for value in KEYS.values()]
    looked = 0
    for path, found in read(served.state):
        assert not [m for m in marks if m in found], path
        looked += 1
    assert looked > 20
