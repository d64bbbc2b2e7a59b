"""Stopping in order: a cancel in the UI, SIGTERM, Ctrl-C; each keeps what was committed."""

import signal
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

import pytest
from command import Command, Result, contents, finish, shards, stamps, until
from runs import SHARDS, Run, Server

pytestmark = pytest.mark.server


def stopped(
    command: Command, flags: list[str], stage: str, slow: str, stop: Callable[["Popen[str]"], None]
) -> Result:
    """Run until a shard of a stage is there, stop the run, and check what it leaves.

    Every shard takes `slow` seconds, one at a time, so the run is in the middle of the stage then:
    five shards are left, which take longer than it takes a run to notice on a busy machine.
    """
    store = command.cwd / "store"
    before = stamps(store)
    with command.start(*flags, "--workers", "1", slow=slow) as process:
        until(lambda: len(shards(store, stage)) >= 1, process)
        stop(process)
        result = finish(process).ended(130)
    assert len(shards(store, stage)) < SHARDS
    after = stamps(store)
    assert {n: after[n] for n in before} == before
    assert not [n for n in after if ".tmp-" in n], "an orderly stop leaves no passing files"
    said = "stopped: committed results stay; run again to resume"
    assert result.stderr.splitlines().count(said) == 1
    assert not result.tracebacks
    return result


def test_cancelled_then_terminated_then_interrupted_then_finished(
    command: Command, flags: list[str], server: Server, undisturbed: Run, tmp_path: Path
) -> None:
    here = command.within(tmp_path)
    stopped(here, flags, "instructions", "5", lambda _: server.cancel(server.latest()))
    run = server.latest()
    assert (run["state"]["type"], run["state"]["name"]) == ("CANCELLED", "Cancelled")

    result = stopped(here, flags, "scores", "1", lambda p: p.send_signal(signal.SIGTERM))
    assert "instructions: " in result.stderr
    assert "finished shards" in result.stderr
    assert server.flow_run(server.latest())["state"]["type"] in ("CRASHED", "CANCELLED")

    result = stopped(here, flags, "metrics", "1", lambda p: p.send_signal(signal.SIGINT))
    assert result.stages("Cached") == ["instructions"]
    assert server.flow_run(server.latest())["state"]["type"] in ("CRASHED", "CANCELLED")

    result = here.run(*flags).ended(0)
    assert result.stages("Cached") == ["instructions", "scores"]
    assert result.stages("resuming from") == ["metrics"]
    assert contents(tmp_path) == contents(undisturbed.folder)
