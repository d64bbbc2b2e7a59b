"""The command around a flow (`python -m flows.select`), and what its exits mean.

0: done. 2: an error that the user can correct, in one line. 130: stopped by Ctrl-C, SIGTERM or a
cancel from the UI; committed results stay. 1: any other error.
"""

import os
import signal
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

from crowdselect_core.config.load import load
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import Stopped, UserError
from crowdselect_core.generate.call_tracker import TooManyFailures
from crowdselect_core.util.text import plain
from flows import console, flow_schemas, looks, options, server_check
from tasks import terminal

if TYPE_CHECKING:  # prefect is imported late: see console.prepare
    from prefect.client.schemas.objects import State

OURS = "crowdselect"  # the tag of our runs; the sweep handles these alone
OK, BROKEN, MENDABLE, STOPPED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None, flow: str = "select") -> int:
    """Run the command of a flow and return its exit status."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        args, flags = options.parse(sys.argv[1:] if argv is None else argv, flow)
        if getattr(args, "compare", None):
            return _print(looks.compared(*args.compare))
        config = load(args.config, flags, flow=flow)
        if (row_id := getattr(args, "explain", None)) is not None:
            return _print(looks.explained(config, row_id))
        for name in looks.NAMES:
            if getattr(args, name, False):
                return _print(looks.look(name, config, flow))
        return run(config, flow, quiet=args.quiet) if _checked(config, flow) else BROKEN
    except UserError as e:
        print(f"error: {plain(str(e))}", file=sys.stderr)
        return MENDABLE
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except (KeyboardInterrupt, Stopped):
        print("stopped: committed results stay; run again to resume", file=sys.stderr)
        return STOPPED


def _print(lines: Iterable[str]) -> int:
    """Print lines as they come, safe for a terminal."""
    for line in lines:
        print(plain(line), flush=True)
    return OK


def _checked(config: SelectConfig, flow: str) -> bool:
    """Check what can be checked before a Prefect server is started.

    Returns:
        Whether the check came to its end; errors of the user are raised.
    """
    try:
        if flow == "report":
            looks.check_reported(config)
        else:
            looks.check_beforehand(config, flow)
    except UserError:
        raise
    except Exception as e:  # as of the run itself
        _broken(f"{type(e).__name__}: {e}")
        return False
    return True


def run(config: SelectConfig, flow: str, *, quiet: bool = False) -> int:
    """Run the flow on a Prefect server: the one of PREFECT_API_URL, or a temporary one."""
    try:
        console.prepare(quiet=quiet)
        server_check.check_server()
        state = _ended(config, flow)
    finally:
        terminal.stop()  # what follows is the end: an error, or the summary
        console.ended.set()
    if state is None:
        return BROKEN
    if state.is_cancelled() or state.is_cancelling():
        raise Stopped
    from prefect.exceptions import TerminationSignal

    from tasks.server_patience import busy_server

    result = outcome_of(state)
    if isinstance(result, UserError):
        raise result
    if isinstance(result, KeyboardInterrupt | TerminationSignal):
        raise KeyboardInterrupt
    if isinstance(result, BaseException):
        kind = "" if isinstance(result, TooManyFailures) else f"{type(result).__name__}: "
        _broken(busy_server(result) or f"{kind}{result}")
        return BROKEN
    console.close(result, config)
    return OK


def _broken(why: object) -> None:
    """Say in one line what ended a run that the user cannot mend."""
    print(f"error: {plain(str(why))}", file=sys.stderr)


def _ended(config: SelectConfig, flow: str) -> "State[Any] | None":
    """Run the flow to its end and return its final state; None where the server was lost."""
    import httpx
    from prefect import tags

    from tasks.server_patience import busy_server

    with flow_schemas.skipped():
        call = getattr(import_module(f"flows.{flow}"), flow)
    try:
        with tags(OURS):
            return cast("State[Any]", call(config, return_state=True))
    except httpx.HTTPError as e:
        terminal.stop()
        _broken(
            busy_server(e)
            or f"the connection to the Prefect server was lost ({type(e).__name__}); committed "
            "results stay: start it, then run again"
        )
        return None


def outcome_of(state: Any) -> Any:
    """Return the result of a run, or the exception that ended it."""
    from tasks import flow_runs

    known = flow_runs.outcome() if state.data is None else None
    return state.result(raise_on_failure=False) if known is None else known


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
