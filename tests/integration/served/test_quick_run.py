"""`make server`: Quick run, what it refuses, its limits, and a worker that is killed."""

import signal

import pyarrow.parquet as pq
import pytest
from command import read
from deployed import KEYS, Deployed

pytestmark = pytest.mark.server


def test_quick_run_chooses_from_the_sample_into_the_bucket(served: Deployed) -> None:
    run = served.ended(served.run("select/select"))
    assert (run["state"]["type"], run["state"]["name"]) == ("COMPLETED", "Completed")
    files = served.file_system()
    with files.open("crowdselect/out/selection.parquet") as file:
        assert pq.read_table(file).num_rows == 40
    assert {"instructions", "ranking", "export"} <= served.tasks(run).keys()


def test_a_value_that_cannot_be_is_refused_before_the_run(served: Deployed) -> None:
    deployment = served.deployment("select/select")
    config = deployment["parameters"]["config"] | {"clusters": -1}
    path = f"/deployments/{deployment['id']}/create_flow_run"
    refused = served.client.post(path, json={"parameters": {"config": config}})
    assert refused.status_code == 409
    assert "config.clusters" in refused.text


def test_a_form_runs_no_function_on_the_worker(served: Deployed) -> None:
    config = served.deployment("select/select")["parameters"]["config"] | {"method": "os:system"}
    run = served.ended(served.run("select/select", config=config))
    assert run["state"]["type"] == "FAILED"
    assert "method: a deployment runs no code that a config names" in run["state"]["message"]
    of_it = {"flow_runs": {"id": {"any_": [run["id"]]}}}
    assert served.post("/task_runs/filter", of_it) == []


def test_limits_protect_gpus_and_endpoints(served: Deployed) -> None:
    limits = {one["name"]: one["limit"] for one in served.post("/v2/concurrency_limits/filter", {})}
    assert limits["tag:gpu"] >= 1
    assert limits["tag:engine-openai"] == 4
    assert served.deployment("generate/generate")["global_concurrency_limit"]["limit"] == 2


def test_a_worker_that_is_killed_is_started_again(served: Deployed) -> None:
    served.worker().send_signal(signal.SIGKILL)
    served.until(lambda: "worker: up again" in served.said)
    assert served.ended(served.run("select/select"))["state"]["type"] == "COMPLETED"


def test_keys_are_nowhere_in_its_state(served: Deployed) -> None:
    marks = [value.encode() for value in KEYS.values()]
    looked = 0
    for path, found in read(served.state):
        assert not [m for m in marks if m in found], path
        looked += 1
    assert looked > 20
