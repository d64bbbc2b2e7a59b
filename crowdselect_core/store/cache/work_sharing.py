"""Which processes make cells of one identity at this moment, so that they share the work.

Each leaves a file beside the cells, `asking-<its id>-<a number>.txt`, and writes it anew under the
next number every BEAT seconds, more often while processes start. What is to be made belongs to one
of them by a hash, so that none asks for what another asks for. That is an order and no lock:
whoever has finished its own share goes on with what is left of the others', and a process whose
number stands still has died and owns nothing. Nobody waits for a process that it has not seen
alive.
"""

import logging
import time
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256
from threading import Event, Thread
from types import TracebackType
from typing import Protocol, Self

from crowdselect_core.errors import StorageError
from crowdselect_core.store.backend.base import StorageBackend
from crowdselect_core.store.names import ASKING

log = logging.getLogger("crowdselect.store")

BEAT = 2.0  # seconds between two signs of life, and between two looks at those of others
FIRST = 0.25  # the same at the start, and when another has come: doubled until it is BEAT
DEAD = 8.0  # seconds at the same number after which a process counts as dead
GRACE = 3.0  # seconds that answers of others are given to be committed
LONGEST = 60.0  # seconds that they are given to come, at most
LOOK = 0.5  # seconds between two looks at whether they did
EVERYTHING = 1 << 30  # a share: whosever it is
SHARES = {0: 1, 1: EVERYTHING, EVERYTHING: EVERYTHING}  # what comes after a share


class Sharing(Protocol):
    """Says which keys this process makes cells of."""

    def rounds(
        self, lacking: Callable[[], bool], seconds: Callable[[], float]
    ) -> Iterator[Callable[[bytes], bool]]:
        """Yield what tells of a key whether this process makes it now; see `WorkSharing`."""
        ...


class Alone:
    """One process that makes all the cells it is given: somebody else has shared them out."""

    def rounds(
        self, lacking: Callable[[], bool], seconds: Callable[[], float]
    ) -> Iterator[Callable[[bytes], bool]]:
        """Yield once, for every key."""
        yield lambda key: True


class WorkSharing:
    """The processes that make cells in one folder; this one is among them while the block runs.

    Args:
        place: of the store.
        folder: of the cells.
    """

    def __init__(self, place: StorageBackend, folder: str) -> None:
        self._place, self._folder = place, folder
        self._id, self._beat = uuid.uuid4().hex, 0
        self._looks: dict[str, tuple[int, float]] = {}  # id -> number, when it was first seen
        self._alive: set[str] = set()  # whose number has changed under our eyes
        self._others: tuple[bytes, ...] = ()
        self._ended = Event()
        self._thread = Thread(target=self._work, name="work-sharing", daemon=True)
        self._left = False  # whether this round leaves work to others

    def __enter__(self) -> Self:
        self._sign()
        self._look()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join(timeout=2 * BEAT)
        try:
            self._place.remove(self._name(self._id, self._beat))
        except StorageError as e:  # others see that it stands still
            log.debug("%s: %s", self._folder, e)

    def rounds(
        self, lacking: Callable[[], bool], seconds: Callable[[], float]
    ) -> Iterator[Callable[[bytes], bool]]:
        """Yield what tells of a key whether this process makes it now, until nothing is left.

        First its own share, again when one of the others has gone; then that where it comes second;
        then everything. Before each of the latter the others get the time to come to their end. One
        that is alone has one round.

        Args:
            lacking: looks whether anything lacks that this process has not asked for.
            seconds: how long an answer takes at the most, as far as this process has seen.
        """
        share = 0
        while True:
            there, self._left = set(self._others), False
            yield partial(self._mine, share)
            if not self._left:
                return
            end = time.monotonic() + min(2 * seconds(), LONGEST) + GRACE
            while self._alive and time.monotonic() < end and there.issubset(self._others):
                if self._ended.wait(LOOK) or not lacking():
                    return
            share = SHARES[share] if there.issubset(self._others) else 0

    def _mine(self, share: int, key: bytes) -> bool:
        """Tell whether at most `share` others come before this process, by a hash of the key."""
        if share >= len(self._others):
            return True
        own = sha256(key + self._id.encode()).digest()
        before = sum(sha256(key + other).digest() < own for other in self._others)
        if before > share:
            self._left = True
        return before <= share

    def _work(self) -> None:
        wait = FIRST
        while not self._ended.wait(wait):
            try:
                self._sign()
                wait = FIRST if self._look() else min(2 * wait, BEAT)
            except StorageError as e:  # whoever commits cells is told of it; here it costs an order
                log.debug("%s: %s", self._folder, e)

    def _sign(self) -> None:
        """Leave the next number, and take the one before away."""
        before, self._beat = self._beat, self._beat + 1
        self._place.create_exclusive(self._name(self._id, self._beat), b"")
        if before:
            self._place.remove(self._name(self._id, before))

    def _look(self) -> bool:
        """See who else is there, and whose number stands still; what the dead left is removed.

        Returns:
            Whether somebody is there who was not there at the last look.
        """
        now = time.monotonic()
        there: dict[str, int] = {}
        for name in self._place.sizes(self._folder):
            if (match := ASKING.fullmatch(name)) and match["id"] != self._id:
                there[match["id"]] = max(int(match["beat"]), there.get(match["id"], 0))
        looks: dict[str, tuple[int, float]] = {}
        dead: set[str] = set()
        for one, beat in there.items():
            before, since = self._looks.get(one, (beat, now))
            looks[one] = (beat, since if beat == before else now)
            if beat != before:
                self._alive.add(one)
            elif now - since > DEAD:
                dead.add(one)
                self._place.remove(self._name(one, beat))
        came = looks.keys() - self._looks.keys()
        self._looks = looks
        self._alive &= looks.keys() - dead
        self._others = tuple(one.encode() for one in looks.keys() - dead)
        return bool(came)

    def _name(self, one: str, beat: int) -> str:
        return f"{self._folder}/asking-{one}-{beat}.txt"
