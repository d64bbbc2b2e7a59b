"""Prefect's server, a worker and an object store for one machine: `make server`.

Everything listens on loopback. State lies in a folder (.crowdselect-server), so that the next start
finds runs, artifacts and results again. The object store's keys are made at every start and are in
memory and in the environment of the worker alone. Ctrl-C or SIGTERM ends all of it; where this
process is killed, the guards of its parts end them.
"""

import argparse
import fcntl
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any

from crowdselect_core.errors import UserError
from crowdselect_core.processes.supervised import NotReady, SupervisedProcess
from deployments import services
from deployments.deploy import HERE, NotRegistered, prepare, register

LOOK_SECONDS = 1.0  # between two looks at the parts
START_SECONDS = 240.0  # for a part to be up: a fresh database on a busy machine is slow
CALM_SECONDS = 60.0  # a part that ends sooner after its start counts as failing
FAILURES = 3  # starts of one part that fail in a row before all is given up


class PartFailed(RuntimeError):
    """A part ends again and again, or could not be set up."""


class Asked(Exception):
    """Ctrl-C or SIGTERM."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run until asked to end; return the exit status."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _asked)
    try:
        serve(services.settings(_parser().parse_args(argv)))
    except UserError as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    except (PartFailed, NotReady) as e:
        print(f"error: {e}", file=sys.stderr)
        return 1
    except Asked:
        say("stopped; the state stays on disk")
    return 0


def serve(settings: services.Settings) -> None:
    """Start everything, say what to press, and keep it running.

    Raises:
        UserError: a port is taken, or another server uses the same state.
        NotReady: a part does not start.
        PartFailed: one ends again and again.
        Asked: somebody ended it.
    """
    with ExitStack() as stack:
        lock(settings.state, stack)
        settings.check_ports()
        store, server, worker = services.made(settings)
        stack.callback(_quietly, [worker, server, store])  # runs tell the server how they ended
        say(f"starting; logs in {settings.logs}")
        for part in (store, server):
            part.start()
        for part in (store, server):
            part.wait(START_SECONDS)
            say(f"{part.name}: up")
        deploy(settings)
        worker.start()
        worker.wait(START_SECONDS)
        say(f"{worker.name}: up")
        print(welcome(settings), flush=True)
        watch([store, server, worker])


def deploy(settings: services.Settings) -> None:
    """Register the deployments; two new ones get the embedded sample for Quick run."""
    os.environ.update(settings.client())  # before prefect is imported, which reads it then
    import httpx
    from prefect.exceptions import PrefectHTTPStatusError

    prepare({})
    sample = settings.sample()
    given = {"select": {"config": sample}, "reselect": {"config": sample | {"series": "sample"}}}
    file = settings.logs / "deploy.log"
    with file.open("wb") as log:
        try:
            refused = register(HERE / "prefect.yaml", given, settings.deploying(), log)
        except (NotRegistered, httpx.HTTPError, PrefectHTTPStatusError) as e:
            kind = type(e).__name__
            raise PartFailed(f"the deployments could not be registered ({kind}); see {file}") from e
    for line in refused:
        say(line)
    say("deployments: registered")


def watch(kept: list[SupervisedProcess]) -> None:
    """Start again what ends, and say so; give up on what ends again and again."""
    started = {part.name: time.monotonic() for part in kept}
    failures = dict.fromkeys(started, 0)
    ill: set[str] = set()
    while True:
        time.sleep(LOOK_SECONDS)
        for part in kept:
            if part.runs():
                well = part.healthy()
                if well == (part.name in ill):
                    say(f"{part.name}: {'healthy again' if well else 'not responding'}")
                    ill.symmetric_difference_update({part.name})
                continue
            calm = time.monotonic() - started[part.name] > CALM_SECONDS
            failures[part.name] = 1 if calm else failures[part.name] + 1
            if failures[part.name] > FAILURES:
                raise PartFailed(f"{part.name} keeps exiting: {part.last_line()}")
            say(f"{part.name}: exited, restarting")
            again(part)
            ill.discard(part.name)
            started[part.name] = time.monotonic()  # when it was up, or had failed to be


def again(part: SupervisedProcess) -> None:
    """Start a part again; where it does not come up it is ended, which the next look counts."""
    part.end()
    part.start()
    try:
        part.wait(START_SECONDS)
    except NotReady as e:
        say(str(e))
        part.end()
    else:
        say(f"{part.name}: up again")


def lock(state: Path, stack: ExitStack) -> None:
    """Hold the state's folder; the kernel lets go of it however this process ends."""
    try:
        state.mkdir(parents=True, exist_ok=True)
        held = stack.enter_context((state / "lock").open("w"))
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(
            f"another server uses {str(state)!r}; stop it, or pass --state FOLDER"
        ) from None
    except OSError as e:
        raise UserError(f"the folder {str(state)!r} cannot be written: {e.strerror}") from None


def welcome(settings: services.Settings) -> str:
    """Say where it is and what to press."""
    return f"""
  open     {settings.ui}
  press    Deployments > select > Run > Quick run, and Run below the form: it chooses 40 rows
           of the embedded sample. Custom run has the form on a page of its own.
  watch    the run's page: a task per stage, its log, and the artifacts selection-summary and
           selection-rows
  results  s3://{services.BUCKET}/out, in the object store at {settings.s3_url}
  stop     Ctrl-C; runs and results stay in {settings.state} for the next start
"""


def say(line: str) -> None:
    """Print a line with the time."""
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def _quietly(ending: list[SupervisedProcess]) -> None:
    """End the parts in order; a second Ctrl-C changes nothing, the end takes some seconds."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    say("stopping")
    for part in ending:
        part.end()


def _asked(_number: int, _frame: FrameType | None) -> None:
    raise Asked


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m deployments.server", description=__doc__)
    options: list[tuple[str, dict[str, Any]]] = [
        ("--port", {"type": int, "default": 4200, "help": "of Prefect and its UI (4200)"}),
        ("--s3-port", {"type": int, "default": 8333,
                       "help": "of the object store (8333); its parts take S3_PORT + 100 to 400, "
                               "and each of the five ports its own + 10000"}),
        ("--state", {"type": Path, "default": Path(".crowdselect-server"), "metavar": "FOLDER",
                     "help": "folder of runs and results (.crowdselect-server)"}),
        ("--keys-from-environment", {"action": "store_true",
                                     "help": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY become "
                                             "the store's keys, so that other shells can read it"}),
    ]  # fmt: skip
    for flag, how in options:
        made.add_argument(flag, **how)
    return made


if __name__ == "__main__":
    sys.exit(main())
