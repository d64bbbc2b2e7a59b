"""`python -m flows.select`: the command around the flow, and what its exits mean.

0: done. 2: something the user can mend, in one line. 130: stopped by Ctrl-C, SIGTERM or a cancel
from the UI, with what was committed kept. 1: the rest.
"""

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any, cast

from crowdselect_core.config import SelectConfig
from crowdselect_core.errors import Stopped, UserError
from flows import console, options

OK, BROKEN, MENDABLE, STOPPED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        args, flags = options.parse(sys.argv[1:] if argv is None else argv)
        config = options.load(args.config, flags)
        if args.dry_run:
            from crowdselect_core.forecast import forecast

            print("\n".join(forecast(config)))
            return OK
        return run(config)
    except UserError as e:
        print(f"error: {console.plain(str(e))}", file=sys.stderr)
        return MENDABLE
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except (KeyboardInterrupt, Stopped):
        print("stopped: what was committed is kept, run again to go on", file=sys.stderr)
        return STOPPED


def run(config: SelectConfig) -> int:
    """Run the flow on a Prefect server (the one of PREFECT_API_URL, or a passing one)."""
    console.prepare()
    console.reachable()
    import httpx
    from prefect.client.schemas.objects import State
    from prefect.exceptions import TerminationSignal

    from flows.select import select

    try:
        state = cast(State[Any], select(config, return_state=True))
    except httpx.HTTPError as e:
        print(f"error: the Prefect server was lost ({type(e).__name__}); what was committed is "
              "kept: start the server, then run again", file=sys.stderr)  # fmt: skip
        return BROKEN
    if state.is_cancelled() or state.is_cancelling():
        raise Stopped
    result: Any = state.result(raise_on_failure=False)
    if isinstance(result, UserError):
        raise result
    if isinstance(result, KeyboardInterrupt | TerminationSignal):
        raise KeyboardInterrupt
    if isinstance(result, BaseException):
        print(f"error: {type(result).__name__}: {console.plain(str(result))}", file=sys.stderr)
        return BROKEN
    console.close(result, config)
    return OK


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
