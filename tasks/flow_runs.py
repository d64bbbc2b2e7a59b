"""What all flows do around their story: cancelling, log lines, and what the run came to."""

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, ParamSpec

from prefect.context import FlowRunContext
from prefect.states import Cancelled
from pydantic import BaseModel

from crowdselect_core.cluster import executor_check
from crowdselect_core.config.named_code import check_named_code
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import Stopped
from crowdselect_core.util.versions import version_of
from tasks import cancellation, server_patience
from tasks.logs import connected

P = ParamSpec("P")

VERSION = version_of("crowdselect")  # of all flows: Prefect would take that of this file

_outcomes: list[Any] = []  # of the last story, one at the most


def tracked(story: Callable[P, Any]) -> Callable[P, Any]:
    """Make a flow of its story: it can be cancelled, its lines go to the run, it is remembered.

    Every call to the server, from the flow's first on, waits for one that is busy. The run of a
    deployment runs no code that its config names, unless the worker's environment allows it.
    """
    server_patience.install()

    @wraps(story)
    def run(*args: P.args, **kwargs: P.kwargs) -> Any:
        _outcomes.clear()
        try:
            with connected(), cancellation.watched():
                given = [*args, *kwargs.values()]
                _check_code(given)
                _join_cluster(given)
                result = story(*args, **kwargs)
        except Stopped as stop:
            return Cancelled(message=str(stop))
        except BaseException as error:
            if not isinstance(error, Exception):  # Ctrl-C, SIGTERM: what waits is to end soon
                cancellation.ask()
            _outcomes.append(error)
            raise
        _outcomes.append(result)
        return result

    return run


def _check_code(given: Iterable[object]) -> None:
    """Refuse code that the config of a deployment's run names, unless the worker allows it."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None or context.flow_run.deployment_id is None:
        return
    for config in given:
        if isinstance(config, BaseModel):
            check_named_code(config)


def _join_cluster(given: Iterable[object]) -> None:
    """Connect to the Ray cluster of a run before its first task, which may take hours."""
    for config in given:
        if isinstance(config, SelectConfig):
            executor_check.join(config)


def outcome() -> Any:
    """Return what the last story of this process came to: its result, or what ended it.

    A run's state has it too, unless the server's answer to that was lost: then Prefect's client
    sends it again, and is told the state that the server has, which is without it.

    Returns:
        None where it did not come to an end.
    """
    return _outcomes[0] if _outcomes else None
