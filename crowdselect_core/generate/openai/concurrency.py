"""How many requests a server gets at a time, and which of several replicas gets the next one.

Additive growth and multiplicative cuts, as TCP does it. The clock is given, so that the logic can
be followed without waiting; nothing here knows of HTTP.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

LATENCY_FACTOR = 2.0  # over the best window, without more throughput: the server only queues
FEWEST_IN_WINDOW = 16  # answers that a window has at least, so that one long answer is no trend
REST = 5.0  # seconds that a replica which could not be reached is left out


@dataclass(frozen=True, slots=True)
class _Window:
    latency: float  # mean seconds of an answer
    throughput: float  # answers a second


class AdaptiveLimit:
    """Bounded concurrency of one server that gives way when the server asks for it.

    It starts at `bound`: what the user configured is trusted. Refusals for overload halve it, at
    most once per round trip: requests that began before the last cut say nothing new. When a
    window of answers took over LATENCY_FACTOR times the best window's mean latency and throughput
    is no higher than it was in that window, it is cut by a quarter and the window becomes the
    yardstick, so that longer answers cost one cut and not all of them. Every `limit` successes
    since the last change let it grow by one, up to `bound`. It never falls below 1.

    Args:
        bound: most requests in flight.
        clock: seconds, rising.
    """

    def __init__(self, bound: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.bound = bound
        self.limit = bound
        self.in_flight = 0
        self._clock = clock
        self._cut_at = float("-inf")
        self._free_at = float("-inf")
        self._successes = 0
        self._best: _Window | None = None
        self._window_from = clock()
        self._latencies: list[float] = []

    @property
    def pause(self) -> float:
        """Seconds for which the server asked to be left alone."""
        return max(self._free_at - self._clock(), 0.0)

    @property
    def room(self) -> bool:
        """Whether a request may begin now."""
        return self.in_flight < self.limit and self.pause == 0

    def begin(self) -> float:
        """Count a request in and return the time of its beginning, which its end names."""
        self.in_flight += 1
        return self._clock()

    def succeeded(self, begun: float) -> None:
        """Count a request out that was answered."""
        self.in_flight -= 1
        self._successes += 1
        if self._successes >= self.limit and self.limit < self.bound:
            self.limit += 1
            self._successes = 0
        self._latencies.append(self._clock() - begun)
        if len(self._latencies) >= max(FEWEST_IN_WINDOW, 2 * self.limit):
            self._close_window()

    def failed(self) -> None:
        """Count a request out that failed of something else than overload."""
        self.in_flight -= 1

    def refused(self, begun: float) -> None:
        """Count a request out that the server refused because it has too many."""
        busy = min(self.limit, self.in_flight)
        self.in_flight -= 1
        if begun >= self._cut_at:
            self._cut(busy // 2)

    def leave_alone(self, seconds: float) -> None:
        """Let no request begin for so many seconds (Retry-After)."""
        self._free_at = max(self._free_at, self._clock() + seconds)

    def _cut(self, limit: int) -> None:
        self.limit = max(limit, 1)
        self._successes = 0
        self._cut_at = self._window_from = self._clock()
        self._latencies.clear()

    def _close_window(self) -> None:
        now = self._clock()
        count = len(self._latencies)
        passed = max(now - self._window_from, 1e-9)
        window = _Window(sum(self._latencies) / count, count / passed)
        self._latencies.clear()
        self._window_from = now
        best = self._best
        if best is None or window.latency <= best.latency:
            self._best = window
        elif (
            window.latency > LATENCY_FACTOR * best.latency and window.throughput <= best.throughput
        ):
            self._best = window
            self._cut(self.limit * 3 // 4)


@dataclass(slots=True)
class Replica:
    """One server of several that have the same model."""

    url: str
    limit: AdaptiveLimit
    rests_until: float = float("-inf")


class Replicas:
    """Servers of one model: the next request goes to the one with the least in flight.

    One that could not be reached is left out for REST seconds, while another can be.

    Args:
        urls: of the servers, no two the same.
        bound: most requests in flight at each of them; the caller bounds them together.
        clock: seconds, rising.
    """

    def __init__(
        self, urls: Sequence[str], bound: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.all = [Replica(url, AdaptiveLimit(bound, clock)) for url in urls]
        self._clock = clock
        self._waiting: deque[asyncio.Future[None]] = deque()

    def choose(self) -> Replica | None:
        """Return the replica that a request may go to now, or None when all are busy."""
        now = self._clock()
        awake = [r for r in self.all if r.rests_until <= now] or self.all
        free = [r for r in awake if r.limit.room]
        return min(free, key=lambda r: r.limit.in_flight) if free else None

    async def acquire(self) -> tuple[Replica, float]:
        """Wait until a request may begin and return where, and the time of its beginning."""
        while (replica := self.choose()) is None:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                async with asyncio.timeout(self._until_change()):
                    await turn
            except TimeoutError:
                continue
            finally:
                turn.cancel()
        return replica, replica.limit.begin()

    def released(self) -> None:
        """Say that a request ended, so that those that wait look again."""
        woken = 0
        while self._waiting and woken < 2:  # a success frees a place and may open one more
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                woken += 1

    def rest(self, replica: Replica) -> None:
        """Leave a replica out that could not be reached."""
        replica.rests_until = self._clock() + REST

    def _until_change(self) -> float | None:
        """Return the seconds until a pause or a rest ends, None without either."""
        now = self._clock()
        ends = [r.limit.pause for r in self.all] + [r.rests_until - now for r in self.all]
        return min((seconds for seconds in ends if seconds > 0), default=None)
