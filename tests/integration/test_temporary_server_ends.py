"""The temporary Prefect server of a run does what another does, and does not outlive the run."""

import signal
import time
from pathlib import Path

import psutil
import pytest
from command import ROOT, Command, contents, finish, until
from prefects import lay_database
from processes import with_words
from runs import Run
from servers import quiet_environment

pytestmark = pytest.mark.server


def temporary(process_id: int) -> list[psutil.Process]:
    """The servers that a process has started."""
    children = psutil.Process(process_id).children(recursive=True)
    return [
        p for p, words in with_words(children) if "prefect.server.api.server:create_app" in words
    ]


@pytest.fixture
def serverless(tmp_path: Path) -> Command:
    """The command of a user who has no server, but has had one before."""
    lay_database(tmp_path / "prefect")
    return Command(quiet_environment(tmp_path) | {"PYTHONPATH": str(ROOT)}, tmp_path)


def test_a_killed_run_leaves_no_server(serverless: Command) -> None:
    with serverless.start("--store", "store", "--out", "out", slow="5") as process:
        until(lambda: bool(temporary(process.pid)), process)
        servers = temporary(process.pid)
        process.send_signal(signal.SIGKILL)
        process.wait()
        _, left = psutil.wait_procs(servers, timeout=240)
        assert not left


def test_an_orderly_run_writes_what_others_write_and_leaves_nothing(
    serverless: Command, flags: list[str], undisturbed: Run, tmp_path: Path
) -> None:
    with serverless.within(tmp_path / "run").start(*flags) as process:
        until(lambda: bool(temporary(process.pid)), process)
        family = psutil.Process(process.pid).children(recursive=True)
        result = finish(process).ended(0)
    assert "starting a temporary Prefect server" in result.stderr
    assert contents(tmp_path / "run") == contents(undisturbed.folder)
    end = time.monotonic() + 240
    while (left := [p for p in family if p.is_running()]) and time.monotonic() < end:
        time.sleep(0.1)
    assert not left
