"""A schedule and an event each select again by themselves."""

import io
import json

import polars as pl
import pytest
from command import ROOT
from deployed import Deployed
from repeated_runs import repeated_by_event, repeated_by_schedule

pytestmark = pytest.mark.server


def arrive(server: Deployed, name: str, rows: pl.DataFrame) -> None:
    """Put a file with rows into the bucket that the reselection watches."""
    buffer = io.BytesIO()
    rows.write_parquet(buffer)
    server.file_system().pipe_file(f"crowdselect/data/{name}.parquet", buffer.getvalue())


def watch(server: Deployed) -> None:
    """Have the reselection watch a prefix of the bucket, as a user sets it in the UI."""
    deployment = server.deployment("reselect/reselect")
    config = {
        **deployment["parameters"]["config"],
        "dataset": {"path": "s3://crowdselect/data/*.parquet"},
        "series": "watched",
        "out": "s3://crowdselect/watched",
    }
    path = f"/deployments/{deployment['id']}"
    body = {"parameters": {"config": config}}
    server.call("PATCH", path, body)


def latest(server: Deployed) -> int:
    """The selection that counts."""
    name = "crowdselect/store/selections/watched/latest.json"
    return int(json.loads(server.file_system().cat_file(name))["number"])


def test_a_schedule_and_an_event_each_select_again_when_rows_arrived(served: Deployed) -> None:
    rows = pl.read_parquet(ROOT / "crowdselect_core/sample/zoo.parquet")
    watch(served)
    arrive(served, "a", rows[:150])
    assert repeated_by_event(served)["state"]["type"] == "COMPLETED"
    assert latest(served) == 1
    arrive(served, "b", rows[150:200])
    assert repeated_by_schedule(served)["state"]["type"] == "COMPLETED"
    assert latest(served) == 2
    arrive(served, "c", rows[200:])
    assert repeated_by_event(served, 2)["state"]["type"] == "COMPLETED"
    assert latest(served) == 3
    assert "crowdselect/watched/membership.parquet" in served.file_system().find(
        "crowdselect/watched"
    )
