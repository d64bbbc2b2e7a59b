"""The command around a flow (`python -m flows.select`), and what its exits mean.

0: done. 2: something the user can mend, in one line. 130: stopped by Ctrl-C, SIGTERM or a cancel
from the UI, with what was committed kept. 1: the rest.
"""

import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from types import FrameType
from typing import Any, cast

from crowdselect_core.config.load import load
from crowdselect_core.config.reselect import ReselectConfig
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import Stopped, UserError
from crowdselect_core.generate.call_tracker import TooManyFailures
from flows import console, options

OURS = "crowdselect"  # the tag of our runs, by which the sweep knows them
OK, BROKEN, MENDABLE, STOPPED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None, flow: str = "select") -> int:
    """Run the command of a flow and return its exit status."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        args, flags = options.parse(sys.argv[1:] if argv is None else argv, flow)
        config = load(args.config, flags, flow=flow)
        looks = [name for name in ("dry_run", "check", "list") if getattr(args, name, False)]
        return look(looks[0], config, flow) if looks else run(config, flow)
    except UserError as e:
        print(f"error: {console.plain(str(e))}", file=sys.stderr)
        return MENDABLE
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except (KeyboardInterrupt, Stopped):
        print("stopped: what was committed is kept, run again to go on", file=sys.stderr)
        return STOPPED


def look(what: str, config: SelectConfig, flow: str) -> int:
    """Say what a run would find, and run nothing."""
    if config.credentials_block:
        from tasks.secrets import lend

        lend(config)
    if what == "check":
        return check(config)
    if what == "list" and isinstance(config, ReselectConfig):
        return listed(config)
    from crowdselect_core.planning.dry_run import forecast
    from crowdselect_core.planning.training_forecast import training_forecast
    from flows.select import chosen

    if flow == "finetune":
        lines = training_forecast(config, lambda c, run: chosen(c, run=run).inputs.selection)
    else:
        lines = forecast(config, chosen, flow)
    print("\n".join(lines))
    return OK


def check(config: SelectConfig) -> int:
    """Check the reward models for conformance, and say what was found as it is found."""
    from crowdselect_core.planning.reward_check import check_all
    from crowdselect_core.reward.factory import Resources
    from tasks.secrets import secret

    for line in check_all(config, Resources(secret)):
        print(console.plain(line), flush=True)
    return OK


def listed(config: ReselectConfig) -> int:
    """List the selections of a series."""
    from crowdselect_core.report.reselection import listing
    from crowdselect_core.store.artifacts import Store

    print("\n".join(listing(Store(config.store), config.series)))
    return OK


def run(config: SelectConfig, flow: str) -> int:
    """Run the flow on a Prefect server (the one of PREFECT_API_URL, or a passing one)."""
    console.prepare()
    console.reachable()
    import httpx
    from prefect import tags
    from prefect.client.schemas.objects import State
    from prefect.exceptions import TerminationSignal

    call = getattr(import_module(f"flows.{flow}"), flow)
    try:
        with tags(OURS):
            state = cast(State[Any], call(config, return_state=True))
    except httpx.HTTPError as e:
        print(f"error: the Prefect server was lost ({type(e).__name__}); what was committed is "
              "kept: start the server, then run again", file=sys.stderr)  # fmt: skip
        return BROKEN
    if state.is_cancelled() or state.is_cancelling():
        raise Stopped
    result = outcome_of(state)
    if isinstance(result, UserError):
        raise result
    if isinstance(result, KeyboardInterrupt | TerminationSignal):
        raise KeyboardInterrupt
    if isinstance(result, BaseException):
        kind = "" if isinstance(result, TooManyFailures) else f"{type(result).__name__}: "
        print(f"error: {kind}{console.plain(str(result))}", file=sys.stderr)
        return BROKEN
    console.close(result, config)
    return OK


def outcome_of(state: Any) -> Any:
    """Return what a run came to, or the exception that ended it."""
    from tasks import flow_runs

    known = flow_runs.outcome() if state.data is None else None
    return state.result(raise_on_failure=False) if known is None else known


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
