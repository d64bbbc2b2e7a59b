"""Requests that an engine has sent and not yet had an answer to: how many, and since when."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class InFlight:
    """The requests of one engine that are on their way; may be read from any thread.

    Args:
        timeout: seconds after which the engine gives one request up; None: never.
    """

    def __init__(self, timeout: float | None = None) -> None:
        self.timeout = timeout
        self._since: dict[object, float] = {}

    @contextmanager
    def sent(self) -> Iterator[None]:
        """Count one attempt at a request while the block runs."""
        attempt = object()
        self._since[attempt] = time.monotonic()
        try:
            yield
        finally:
            del self._since[attempt]

    @property
    def count(self) -> int:
        """Requests in flight."""
        return len(self._since)

    @property
    def oldest(self) -> float | None:
        """Seconds since the oldest request in flight was sent; None without one."""
        since = list(self._since.values())  # one step: the engine's thread changes it meanwhile
        return time.monotonic() - min(since) if since else None


def in_flight_of(engine: object) -> InFlight | None:
    """Return the requests in flight of an engine or scorer; None where it does not report them."""
    reported = getattr(engine, "in_flight", None)
    return reported if isinstance(reported, InFlight) else None
