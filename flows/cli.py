"""The command around a flow (`python -m flows.select`), and what its exits mean.

0: done. 2: an error that the user can correct, in one line. 130: stopped by Ctrl-C, SIGTERM or a
cancel from the UI; committed results stay. 1: any other error.
"""

import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.config.load import load
from crowdselect_core.config.reselect import ReselectConfig
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import Stopped, UserError
from crowdselect_core.generate.call_tracker import TooManyFailures
from crowdselect_core.util.text import plain
from flows import console, flow_schemas, options, server_check
from tasks import terminal

if TYPE_CHECKING:  # prefect is imported late: see console.prepare
    from prefect.client.schemas.objects import State

    from crowdselect_core.reselection.record import SelectionRun
    from crowdselect_core.stages.base import Runner

OURS = "crowdselect"  # the tag of our runs; the sweep handles these alone
LOOKS = ("dry_run", "check", "list", "preflight")
OK, BROKEN, MENDABLE, STOPPED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None, flow: str = "select") -> int:
    """Run the command of a flow and return its exit status."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        args, flags = options.parse(sys.argv[1:] if argv is None else argv, flow)
        if getattr(args, "compare", None):
            return compared(*args.compare)
        config = load(args.config, flags, flow=flow)
        if (row_id := getattr(args, "explain", None)) is not None:
            return explained(config, row_id)
        looks = [name for name in LOOKS if getattr(args, name, False)]
        if flow == "report":
            check_reported(config)
        return look(looks[0], config, flow) if looks else run(config, flow, quiet=args.quiet)
    except UserError as e:
        print(f"error: {plain(str(e))}", file=sys.stderr)
        return MENDABLE
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except (KeyboardInterrupt, Stopped):
        print("stopped: committed results stay; run again to resume", file=sys.stderr)
        return STOPPED


def look(what: str, config: SelectConfig, flow: str) -> int:
    """Print a dry run, the check of the reward models, or the list of a series; run nothing."""
    if config.credentials_block:
        from tasks.secrets import lend

        lend(config)
    if what == "check":
        return check(config)
    if what == "preflight":
        return preflight(config)
    if what == "list" and isinstance(config, ReselectConfig):
        return listed(config)
    from crowdselect_core.planning.dry_run import forecast

    console.plain_warnings()
    from crowdselect_core.report.card import upload_forecast

    with flow_schemas.skipped():
        import_module(f"flows.{flow}")  # and the flows that it calls
    from flows.select import chosen, gated

    if isinstance(config, EvaluateConfig):
        from crowdselect_core.planning.evaluation_forecast import evaluation_forecast
        from flows.finetune import trained_on
        from tasks.secrets import secret

        lines = evaluation_forecast(
            config, lambda c, run: trained_on(chosen(c, run=run), run), secret
        )
    elif flow == "experiment":
        from crowdselect_core.planning.experiment_forecast import experiment_forecast
        from flows.experiment import planned
        from tasks.secrets import secret

        lines = experiment_forecast(config, planned, secret)
    elif flow == "finetune":
        from crowdselect_core.planning.training_forecast import training_forecast
        from flows.finetune import trained_on

        lines = training_forecast(config, lambda c, run: trained_on(chosen(c, run=run), run))
    else:
        alone = config.quality is not None and config.quality.only
        lines = forecast(config, gated if alone else chosen, flow)
        if flow == "select" and config.push_to and not alone:
            lines += upload_forecast(config, chosen)
    print("\n".join(lines))
    return OK


def check(config: SelectConfig) -> int:
    """Check the reward models for conformance; each result is printed as it comes."""
    from crowdselect_core.planning.reward_check import check_all
    from crowdselect_core.reward.factory import Resources
    from tasks.secrets import secret

    for line in check_all(config, Resources(secret)):
        print(plain(line), flush=True)
    return OK


def compared(first: str, second: str) -> int:
    """Compare two outputs that exist."""
    from crowdselect_core.experiment.outputs import compare_outputs

    print("\n".join(compare_outputs(first, second).lines))
    return OK


def preflight(config: SelectConfig) -> int:
    """Check what the cells of an experiment need; each result is printed as it comes."""
    from crowdselect_core.planning.experiment_preflight import experiment_preflight
    from tasks.secrets import secret

    for line in experiment_preflight(config, secret):
        print(plain(line), flush=True)
    return OK


def explained(config: SelectConfig, row_id: str) -> int:
    """Print why a row was chosen or not; nothing is computed for it."""
    if config.credentials_block:
        from tasks.secrets import lend

        lend(config)
    from crowdselect_core.report.explain import explain
    from crowdselect_core.report.explain_source import find_selection
    from crowdselect_core.report.explain_text import explanation_lines

    def story(config: SelectConfig, *, run: "Runner") -> "SelectionRun":
        from flows.select import chosen  # only where OUT does not have it: it imports prefect

        return chosen(config, run=run)

    console.plain_warnings()
    for line in explanation_lines(explain(find_selection(config, story), row_id)):
        print(line)
    return OK


def check_reported(config: SelectConfig) -> None:
    """Refuse an OUT that no report can be made of before a Prefect server is started.

    Where credentials stand in a block of Prefect's, OUT is looked at by the flow alone.

    Raises:
        StorageError: nothing that a report is made from lies there.
    """
    if not config.credentials_block:
        from crowdselect_core.report.page.writing import manifest_in

        manifest_in(config.out)


def listed(config: ReselectConfig) -> int:
    """List the selections of a series."""
    from crowdselect_core.report.reselection import listing
    from crowdselect_core.store.artifacts import Store

    print("\n".join(listing(Store(config.store), config.series)))
    return OK


def run(config: SelectConfig, flow: str, *, quiet: bool = False) -> int:
    """Run the flow on a Prefect server: the one of PREFECT_API_URL, or a temporary one."""
    try:
        console.prepare(quiet=quiet)
        server_check.check_server()
        state = _ended(config, flow)
    finally:
        terminal.stop()  # what follows is the end: an error, or the summary
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
