"""A schedule and an event each select again by themselves, on SQLite and on PostgreSQL."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from command import ROOT
from deployed import Deployed
from postgres import binaries, running

pytestmark = pytest.mark.server


def repeated_by_schedule(server: Deployed) -> dict[str, Any]:
    """Give the reselection a schedule, and wait until it has run by itself."""
    path = f"/deployments/{server.deployment('reselect/reselect')['id']}/schedules"
    assert [s["active"] for s in server.get(path)] == [False], "a fresh deploy asks nobody"
    [schedule] = server.post(path, [{"schedule": {"interval": 20}, "active": True}])
    try:
        return done_by(server, "SCHEDULE")
    finally:
        server.call("DELETE", f"{path}/{schedule['id']}")


def repeated_by_event(server: Deployed, times: int = 1) -> dict[str, Any]:
    """Say that rows have arrived, and wait until the reselection has run by itself so often."""
    event = {
        "event": "dataset.arrived",
        "resource": {"prefect.resource.id": "crowdselect.dataset.sample"},
        "occurred": "2026-01-01T00:00:00Z",
        "payload": {},
        "id": f"00000000-0000-4000-8000-{times:012d}",
    }
    server.call("POST", "/events", [event])
    return done_by(server, "AUTOMATION", times)


def done_by(server: Deployed, what: str, times: int = 1) -> dict[str, Any]:
    """Wait for as many reselections that a schedule or an automation started; return the last."""

    def done() -> dict[str, Any] | None:
        mine = [r for r in server.runs("reselect") if (r["created_by"] or {}).get("type") == what]
        done = [r for r in mine if r["state"]["type"] in ("COMPLETED", "FAILED")]
        return done[0] if len(done) >= times else None

    return dict(server.until(done))


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


@pytest.fixture
def on_postgres(tmp_path: Path) -> Iterator[Deployed]:
    """The server with PostgreSQL as Prefect's database."""
    programs = binaries()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    with running(programs) as url:
        server = Deployed.start(tmp_path / "state", PREFECT_SERVER_DATABASE_CONNECTION_URL=url)
        try:
            yield server
        finally:
            server.stop()


def test_the_same_with_postgresql(on_postgres: Deployed) -> None:
    assert repeated_by_event(on_postgres)["state"]["type"] == "COMPLETED"
    assert repeated_by_schedule(on_postgres)["state"]["type"] == "COMPLETED"
    assert not list((on_postgres.state / "prefect").glob("*.db")), "SQLite is not used"
