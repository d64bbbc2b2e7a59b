"""A Prefect server that is too busy to answer: runs wait for it, and end when it never does."""

from pathlib import Path

import pytest
from command import Command
from runs import Server

pytestmark = pytest.mark.server

SLOT = "/concurrency_limits/increment"
# Without patience a run ends at its first task: Prefect's own client gives up at the sixth answer.
MORE = "9"


def test_a_run_waits_for_whatever_it_asks_of_the_server(
    command: Command, flags: list[str], server: Server, tmp_path: Path
) -> None:
    paths = f"{SLOT}|/set_state|/artifacts|/flow_runs/$"
    ran = command.within(tmp_path).run(*flags, busy=paths, times=MORE).ended(0)
    waiting = "waiting for the Prefect server: it answered 503 (POST"
    for path in ("/concurrency_limits/", "/set_state", "/artifacts/", "/flow_runs/)"):
        assert [li for li in ran.stderr.splitlines() if waiting in li and path in li]
    assert "the Prefect server answers again" in ran.stderr
    run = server.latest()
    assert run["state"]["type"] == "COMPLETED"
    assert any(waiting in line for line in server.lines(run))


def test_a_run_ends_with_one_line_when_the_slot_never_comes(
    command: Command, flags: list[str], server: Server, tmp_path: Path
) -> None:
    within = command.within(tmp_path)
    ran = within.run(*flags, busy=SLOT, times="999999", server_patience="0.5").ended(1)
    assert "answered 503 for 0.5 s (POST /api/v2/concurrency_limits/increment" in ran.error
    assert "run again" in ran.error
    assert server.latest()["state"]["type"] == "FAILED"
    within.run(*flags).ended(0)


def test_a_run_ends_with_one_line_when_the_server_takes_no_state(
    command: Command, flags: list[str], tmp_path: Path
) -> None:
    within = command.within(tmp_path)
    ran = within.run(*flags, busy="/set_state", times="999999", server_patience="0.5").ended(1)
    assert "answered 503 for 0.5 s (POST /api/flow_runs/" in ran.error
