"""What all flows do around their story: cancelling, log lines, and what the run came to."""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

from prefect.states import Cancelled

from crowdselect_core.errors import Stopped
from crowdselect_core.util.versions import version_of
from tasks import cancellation, server_patience
from tasks.logs import connected

P = ParamSpec("P")

VERSION = version_of("crowdselect")  # of all flows: Prefect would take that of this file

_outcomes: list[Any] = []  # of the last story, one at the most


def tracked(story: Callable[P, Any]) -> Callable[P, Any]:
    """Make a flow of its story: it can be cancelled, its lines go to the run, it is remembered.

    Every call to the server, from the flow's first on, waits for one that is busy.
    """
    server_patience.install()

    @wraps(story)
    def run(*args: P.args, **kwargs: P.kwargs) -> Any:
        _outcomes.clear()
        try:
            with connected(), cancellation.watched():
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


def outcome() -> Any:
    """Return what the last story of this process came to: its result, or what ended it.

    A run's state has it too, unless the server's answer to that was lost: then Prefect's client
    sends it again, and is told the state that the server has, which is without it.

    Returns:
        None where it did not come to an end.
    """
    return _outcomes[0] if _outcomes else None
