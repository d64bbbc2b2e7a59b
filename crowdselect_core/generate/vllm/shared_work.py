"""Work for several servers at once, each of which may die: what one lost, the others do."""

from collections import deque
from collections.abc import Callable, Iterator
from threading import Condition, Lock
from typing import Generic

from crowdselect_core.generate.base import Failure
from crowdselect_core.generate.vllm.requeue import Asked, ServerDied, Told

LOOK = 1.0  # seconds between two looks whether the run is to stop
MOST_TOLD = 1000  # outcomes that wait to be handed over, before the servers wait


class Turn(Generic[Asked, Told]):
    """What one server is asked until it has died, or nothing is left at this moment."""

    def __init__(self, work: "SharedWork[Asked, Told]", down: Callable[[], bool]) -> None:
        self._work, self._down = work, down
        self.flying: dict[bytes, Asked] = {}  # on their way to the server
        self.over = False

    def requests(self) -> Iterator[Asked]:
        """Yield what is to be asked; a client may read it on a thread of its own."""
        while (request := self._work.next(self)) is not None:
            yield request

    def take(self, told: Told) -> None:
        """Hand an outcome on, but not a failure that the server's death brought about.

        Raises:
            ServerDied: it did.
        """
        if told.failure is Failure.INFRASTRUCTURE and self._down():
            raise ServerDied
        self._work.told(self, told)


class SharedWork(Generic[Asked, Told]):
    """The requests of a run that several servers answer.

    Each server's thread takes a turn whenever there is work, and another one when what a dead
    server lost is there to be asked again. Every outcome comes once, in the thread that reads
    `outcomes`.

    Args:
        requests: read by one thread at a time.
    """

    def __init__(self, requests: Iterator[Asked]) -> None:
        self._requests = requests
        self._lost: deque[Asked] = deque()
        self._told: deque[Told] = deque()
        self._flying = 0
        self._exhausted = self._stopped = False
        self._error: BaseException | None = None
        self._pulling = Lock()  # one thread at a time reads the requests
        self._state = Condition()  # of all the others

    @property
    def over(self) -> bool:
        """Whether no server has anything more to do: all is answered, or the run ends."""
        with self._state:  # a request that moves between lost and flying is in neither for a moment
            left = self._lost or self._flying or not self._exhausted
            return self._stopped or self._error is not None or not left

    def wait(self) -> bool:
        """Wait until there is something to ask; False when it is over."""
        with self._state:
            while not self.over and self._exhausted and not self._lost:
                self._state.wait(LOOK)
            return not self.over

    def turn(self, down: Callable[[], bool]) -> Turn[Asked, Told]:
        """Return the turn of a server; `give_back` ends it.

        Args:
            down: says whether the server is dead; called after every failure that may be its own.
        """
        return Turn(self, down)

    def give_back(self, turn: Turn[Asked, Told]) -> int:
        """End a turn, and return how many requests its server left without an answer."""
        with self._state:
            turn.over, lost = True, len(turn.flying)
            self._lost.extend(turn.flying.values())
            self._flying -= lost
            turn.flying.clear()
            self._state.notify_all()
        return lost

    def stop(self) -> None:
        """End all turns: no request is handed out any more."""
        with self._state:
            self._stopped = True
            self._state.notify_all()

    def fail(self, error: BaseException) -> None:
        """End all turns with an error, which `outcomes` raises; the first one counts."""
        with self._state:
            self._error = self._error or error
            self._state.notify_all()

    def outcomes(self) -> Iterator[Told | None]:
        """Yield what comes of the requests, and None whenever a second has passed without.

        Raises:
            BaseException: what the requests raised, or `fail` was told.
        """
        while True:
            with self._state:
                if not self._told and not self.over:
                    self._state.wait(LOOK)
                batch, ended = list(self._told), self.over
                self._told.clear()
                self._state.notify_all()
            yield from batch
            if not batch and self._error is not None:
                raise self._error
            if not batch and ended:
                return
            if not batch:
                yield None

    def next(self, turn: Turn[Asked, Told]) -> Asked | None:
        """Return what a server is to be asked next; None when there is nothing now."""
        if (lost := self._again(turn)) is not None:
            return lost
        while not self._pulling.acquire(timeout=LOOK):  # who has it may wait for other runs
            if (lost := self._again(turn)) is not None or turn.over or self.over:
                return lost
        try:
            if (lost := self._again(turn)) is not None:  # by a server that died meanwhile
                return lost
            if turn.over or self.over or self._exhausted:
                return None
            try:
                request = next(self._requests, None)
            except BaseException as e:
                self.fail(e)
                return None
        finally:
            self._pulling.release()
        with self._state:
            if request is None:
                self._exhausted = True
                self._state.notify_all()
            elif turn.over:
                self._lost.append(request)
                self._state.notify_all()
                return None
            else:
                self._fly(turn, request)
            return request

    def told(self, turn: Turn[Asked, Told], told: Told) -> None:
        """Take an outcome; those who read them are waited for where there are many."""
        with self._state:
            while len(self._told) >= MOST_TOLD and not (self._stopped or self._error):
                self._state.wait(LOOK)
            if turn.flying.pop(told.key, None) is not None:
                self._flying -= 1
                self._told.append(told)
                self._state.notify_all()

    def _again(self, turn: Turn[Asked, Told]) -> Asked | None:
        with self._state:
            if not self._lost or turn.over or self._stopped or self._error is not None:
                return None
            self._fly(turn, lost := self._lost.popleft())
            return lost

    def _fly(self, turn: Turn[Asked, Told], request: Asked) -> None:
        turn.flying[request.key] = request
        self._flying += 1
