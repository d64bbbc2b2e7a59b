"""A schedule and an event each start a run by themselves, on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
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
        server.client.delete(f"{path}/{schedule['id']}").raise_for_status()


def repeated_by_event(server: Deployed) -> dict[str, Any]:
    """Say that rows have arrived, and wait until the reselection has run by itself."""
    event = {
        "event": "dataset.arrived",
        "resource": {"prefect.resource.id": "crowdselect.dataset.sample"},
        "occurred": "2026-01-01T00:00:00Z",
        "payload": {},
        "id": "00000000-0000-4000-8000-000000000001",
    }
    server.client.post("/events", json=[event]).raise_for_status()  # answered without a body
    return done_by(server, "AUTOMATION")


def done_by(server: Deployed, what: str) -> dict[str, Any]:
    """Wait for a reselection that a schedule or an automation started."""

    def done() -> dict[str, Any] | None:
        mine = [r for r in server.runs("reselect") if (r["created_by"] or {}).get("type") == what]
        return next((r for r in mine if r["state"]["type"] in ("COMPLETED", "FAILED")), None)

    return dict(server.until(done, 120))


def test_a_schedule_and_an_event_start_a_reselection(served: Deployed) -> None:
    assert repeated_by_schedule(served)["state"]["type"] == "COMPLETED"
    assert repeated_by_event(served)["state"]["type"] == "COMPLETED"
    files = served.file_system().find("crowdselect/out")
    assert "crowdselect/out/selection.parquet" in files


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
