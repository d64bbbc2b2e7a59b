"""Reselections that a schedule or an event starts, and the wait for their end."""

from typing import Any

from deployed import Deployed


def repeated_by_schedule(server: Deployed) -> dict[str, Any]:
    """Give the reselection a schedule, and wait until it has run by itself."""
    path = f"/deployments/{server.deployment('reselect/reselect')['id']}/schedules"
    assert [s["active"] for s in server.get(path)] == [False], "a fresh deploy asks nobody"
    [schedule] = server.post(path, [{"schedule": {"interval": 60}, "active": True}])
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
