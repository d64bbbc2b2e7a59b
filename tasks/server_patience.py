"""Patience with a Prefect server that is busy or restarts: no run ends by that.

Prefect's own client tries a call again five times, the last after about a minute, says nothing
meanwhile, and ends at once where a new client finds nobody listening. Every task asks for its
concurrency slot so, and eight runs on one SQLite keep a server busy for longer than that. Here
every call of every Prefect client waits up to PATIENCE seconds. The log says so once the wait
lasts: SQLite refuses a call now and then even on a quiet machine, and takes it a second later.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Coroutine
from functools import wraps
from threading import Event
from typing import Any

import httpx
from prefect.client.base import PrefectHttpxAsyncClient, PrefectHttpxSyncClient

from tasks import cancellation

log = logging.getLogger("crowdselect")

PATIENCE = 300.0  # seconds that one call is tried again
LAST = 10.0  # the same, once a call was given up or the run is to stop
LONGEST = 10.0  # seconds between two tries, at most
QUIET = 2.0  # seconds that may pass after the first refusal before the log speaks of it
GATEWAY_TIMEOUT = 504  # what a proxy before a busy server answers; Prefect's client knows the rest
MAINTENANCE = "Prefect-Maintenance"  # Prefect's client waits for the end of it by itself

Send = Callable[..., httpx.Response]
AsyncSend = Callable[..., Coroutine[Any, Any, httpx.Response]]

_given_up = Event()  # until the server answers again: the run's end is not to wait as long again


class ServerBusy(httpx.TransportError):
    """The Prefect server did not take a call in PATIENCE seconds; its text is one whole line."""


def install() -> None:
    """Give all Prefect clients of this process that patience; a second call changes nothing.

    Prefect has no setting for it: PREFECT_CLIENT_MAX_RETRIES doubles every pause, and what asks for
    a concurrency slot makes its own client. So the one method that all calls go through is wrapped.
    """
    if not hasattr(PrefectHttpxSyncClient._send_with_retry, "__wrapped__"):
        own: Any = PrefectHttpxSyncClient._send_with_retry
        PrefectHttpxSyncClient._send_with_retry = _patient(own)  # type: ignore[method-assign]
    if not hasattr(PrefectHttpxAsyncClient._send_with_retry, "__wrapped__"):
        own = PrefectHttpxAsyncClient._send_with_retry
        PrefectHttpxAsyncClient._send_with_retry = _patient_async(own)  # type: ignore[method-assign]


def busy_server(error: BaseException | None) -> ServerBusy | None:
    """Return the busy server that an error comes from, through all its causes."""
    while error is not None and not isinstance(error, ServerBusy):
        error = error.__cause__ or error.__context__
    return error


class _Call:
    """One call that is tried again: how long, after which pauses, and what is said of it."""

    def __init__(
        self, request: httpx.Request, codes: set[int], gone: tuple[type[Exception], ...]
    ) -> None:
        self._codes = codes | {GATEWAY_TIMEOUT}
        # What a server that is away or restarts makes of a call.
        self.gone: tuple[type[Exception], ...] = (*gone, httpx.ConnectError)
        self._name = f"{request.method} {request.url.path}"
        self._host = request.url.host
        self._begun = time.monotonic()
        self._tries = 0
        self._is_told = False  # whether the log says that the call waits
        self._asked = 0.0  # seconds that the server wants to be left alone

    def refused(self, response: httpx.Response) -> bool:
        """Tell whether the server is too busy for the call; say so where it is no longer."""
        if response.status_code in self._codes and response.headers.get(MAINTENANCE) != "true":
            after = response.headers.get("Retry-After", "")
            self._asked = float(after) if after.isdecimal() else 0.0
            return True
        _given_up.clear()
        if self._is_told:
            log.info("the Prefect server answers again, after %.0f s", self._waited)
        return False

    def pause(self, why: str, cause: Exception | None = None) -> float:
        """Return the seconds until the next try.

        Raises:
            ServerBusy: the patience is at its end.
        """
        patience = LAST if _given_up.is_set() or cancellation.asked() else PATIENCE
        if self._waited >= patience:
            _given_up.set()
            raise ServerBusy(
                f"the Prefect server at {self._host} {why} for {patience:g} s ({self._name}); "
                "committed results stay: run again when it is up and less busy"
            ) from cause
        # Never twice at one time: those that wait together would come together.
        pause = min(LONGEST, 2.0 ** min(self._tries, 10)) * random.uniform(0.75, 1.25)  # noqa: S311
        pause = max(pause, self._asked)
        if not self._is_told and (self._tries or pause > QUIET):
            self._is_told = True
            log.warning(
                "waiting for the Prefect server: it %s (%s), trying again for up to %g s",
                why, self._name, patience,
            )  # fmt: skip
        self._tries += 1
        return min(pause, max(patience - self._waited, 0.0))

    @property
    def _waited(self) -> float:
        return time.monotonic() - self._begun


def _patient(own: Send) -> Send:
    @wraps(own)
    def send_with_retry(client: Any, request: httpx.Request, send: Send, **how: Any) -> Any:
        call = _Call(request, how["retry_codes"], how["retry_exceptions"])

        def again(*args: Any, **kwargs: Any) -> httpx.Response:
            while True:
                try:
                    response = send(*args, **kwargs)
                except call.gone as e:
                    pause = call.pause(f"did not answer ({type(e).__name__})", e)
                else:
                    if not call.refused(response):
                        return response
                    pause = call.pause(f"answered {response.status_code}")
                time.sleep(pause)

        return own(client, request=request, send=again, **how)

    return send_with_retry


def _patient_async(own: AsyncSend) -> AsyncSend:
    @wraps(own)
    async def send_with_retry(
        client: Any, request: httpx.Request, send: AsyncSend, **how: Any
    ) -> Any:
        call = _Call(request, how["retry_codes"], how["retry_exceptions"])

        async def again(*args: Any, **kwargs: Any) -> httpx.Response:
            while True:
                try:
                    response = await send(*args, **kwargs)
                except call.gone as e:
                    pause = call.pause(f"did not answer ({type(e).__name__})", e)
                else:
                    if not call.refused(response):
                        return response
                    pause = call.pause(f"answered {response.status_code}")
                await asyncio.sleep(pause)

        return await own(client, request=request, send=again, **how)

    return send_with_retry
