"""Work for a server that may die: what it takes with it is asked again of the next one."""

from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain
from threading import Lock
from typing import Generic, Protocol, TypeVar

from crowdselect_core.generate.base import EngineDown, Failure


class Keyed(Protocol):
    """What is asked: a request, or an answer to be scored."""

    @property
    def key(self) -> bytes:
        """16 bytes that name the cell."""
        ...


class Outcome(Keyed, Protocol):
    """What comes of it: an answer or a score."""

    @property
    def failure(self) -> Failure | None:
        """Whose fault it is that there is none."""
        ...


Asked = TypeVar("Asked", bound=Keyed)
Told = TypeVar("Told", bound=Outcome)


def unless_empty(requests: Iterator[Asked]) -> Iterator[Asked] | None:
    """Return the requests, the first of which is read already; None where there is none.

    So that no server is started for nothing.
    """
    first = next(requests, None)
    return None if first is None else chain([first], requests)


class ServerDied(Exception):
    """Raised out of a client that asks a dead server; what it was asking is asked again."""


class Work(Generic[Asked, Told]):
    """The requests of a run: which are on their way, and which a dead server lost.

    `ask` it of one server after the other until it is `complete`. Every request comes to `done`
    once, however many servers died. A client may read the requests on a thread of its own, and the
    requests may wait for answers: a thread that is left waiting there when its client has ended
    hands what it gets to the next one.
    """

    def __init__(self, requests: Iterator[Asked], done: Callable[[Told], None]) -> None:
        self._requests = requests
        self._done = done
        self._again: deque[Asked] = deque()
        self._flying: dict[bytes, Asked] = {}
        self._server = 0  # the number of the one that is asked
        self._down: Callable[[], bool] = bool
        self._error: BaseException | None = None
        self._pulling = Lock()  # one thread at a time reads the requests
        self._state = Lock()  # of what is flying, and for which server
        self.complete = False

    @property
    def lost(self) -> int:
        """How many requests are to be asked again."""
        return len(self._again)

    def ask(
        self,
        client: Callable[[Iterator[Asked], Callable[[Told], None]], None],
        down: Callable[[], bool],
    ) -> None:
        """Have the client of a server ask what is left, until all is answered or it is dead.

        Args:
            client: `run` of an engine or a scorer.
            down: says whether the server is dead; called after every failure that may be its own.

        Raises:
            EngineDown: the client gives up although the server lives.
        """
        self._down = down
        try:
            client(self._for(self._server), self._take)
            self.complete = True
        except ServerDied:
            pass
        except EngineDown:
            if not down():
                raise
        with self._state:
            self._server += 1
            self._again.extendleft(reversed(self._flying.values()))
            self._flying.clear()

    def _for(self, server: int) -> Iterator[Asked]:
        """Yield what was lost and then what is new, as long as this server is asked."""
        while (request := self._next(server)) is not None:
            with self._state:
                if server != self._server:
                    self._again.append(request)
                    return
                self._flying[request.key] = request
            yield request

    def _next(self, server: int) -> Asked | None:
        if (lost := self._pop_lost(server)) is not None:
            return lost
        with self._pulling:
            if self._error is not None:
                raise self._error
            if server != self._server:
                return None
            if (lost := self._pop_lost(server)) is not None:  # by a thread that was left waiting
                return lost
            try:
                return next(self._requests, None)
            except BaseException as e:
                self._error = e  # a client that has ended does not hear it: the next one does
                raise

    def _pop_lost(self, server: int) -> Asked | None:
        with self._state:
            return self._again.popleft() if self._again and server == self._server else None

    def _take(self, told: Told) -> None:
        """Hand an outcome on, but not a failure that the server's death brought about."""
        if told.failure is Failure.INFRASTRUCTURE and self._down():
            raise ServerDied
        del self._flying[told.key]
        self._done(told)
