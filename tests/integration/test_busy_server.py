"""A Prefect server that is too busy to answer: runs wait for it, and end when it never does."""

from collections.abc import Callable
from pathlib import Path

import pytest
from command import Command
from runs import Server

pytestmark = pytest.mark.server

SLOT = "/concurrency_limits/increment"
# Without patience a run ends at its first task: Prefect's own client gives up at the sixth answer.
MORE = "9"


def test_a_run_waits_for_its_concurrency_slots(
    command: Command, flags: list[str], server: Server, tmp_path: Path
) -> None:
    ran = command.within(tmp_path).run(*flags, busy=SLOT, times=MORE).ended(0)
    waiting = "waiting for the Prefect server: it answered 503 (POST /api/v2"
    assert waiting in ran.stderr
    assert "the Prefect server answers again" in ran.stderr
    run = server.latest()
    assert run["state"]["type"] == "COMPLETED"
    assert any(waiting in line for line in server.lines(run))


@pytest.mark.parametrize("path", ["/set_state", "/artifacts", "/flow_runs/"])
def test_a_run_waits_for_every_other_answer(
    command: Command, flags: list[str], server: Server, copy: Callable[[str], Path], path: str
) -> None:
    ran = command.within(copy("busy")).run(*flags, busy=path, times=MORE).ended(0)
    assert "waiting for the Prefect server: it answered 503" in ran.stderr
    assert server.latest()["state"]["type"] == "COMPLETED"


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
