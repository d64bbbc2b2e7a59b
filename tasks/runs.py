"""What all flows do around their story: cancelling, log lines, and what the run came to."""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

from prefect.states import Cancelled

from crowdselect_core.errors import Stopped
from tasks import stopping
from tasks.logs import connected

P = ParamSpec("P")

_outcomes: list[Any] = []


def told(story: Callable[P, Any]) -> Callable[P, Any]:
    """Make a flow of its story: it can be cancelled, its lines go to the run, it is remembered."""

    @wraps(story)
    def run(*args: P.args, **kwargs: P.kwargs) -> Any:
        try:
            with connected(), stopping.watched():
                result = story(*args, **kwargs)
        except Stopped as stop:
            return Cancelled(message=str(stop))
        except BaseException as error:
            _outcomes[:] = [error]
            raise
        _outcomes[:] = [result]
        return result

    return run


def outcome() -> Any:
    """Return what the last story of this process came to: its result, or what ended it.

    A run's state has it too, unless the server's answer to that was lost: then Prefect's client
    sends it again, and is told the state that the server has, which is without it.

    Raises:
        LookupError: no story came to its end.
    """
    if not _outcomes:
        raise LookupError("no run of this process has come to its end")
    return _outcomes[-1]
