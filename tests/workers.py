"""What stands in for a Ray cluster in tests: every call is answered in this process."""

import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from crowdselect_core.cluster import worker
from crowdselect_core.cluster.calls import Call
from crowdselect_core.cluster.outcome import Outcome, answered, read


class WorkerDied(BaseException):
    """In place of the end of a worker's process; the call is then made again."""


class Here:
    """In place of `cluster.calls.Calls`."""

    def __init__(self, stage: str, config: Any, needs: Any, check: Callable[[], None]) -> None:
        self._check = check

    def run(self, calls: Iterable[Call]) -> Iterator[tuple[Call, Outcome]]:
        """Answer the calls in their order."""
        for call in calls:
            self._check()
            yield call, self._answer(call)

    def _answer(self, call: Call) -> Outcome:
        try:
            return read(answered("here", partial(_done, call.request)))
        except WorkerDied:
            return self._answer(call)


def _done(request: str) -> Any:
    return worker._do(json.loads(request))
