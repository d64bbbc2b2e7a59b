"""Stopping in order when somebody cancels the run in the UI.

A worker ends its runs by a signal. A run that was started from a shell has no worker, so it looks
for itself: a thread asks the server for the run's state, and the next shard does not start.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectException
from prefect.runtime import flow_run

from crowdselect_core.errors import Stopped

log = logging.getLogger("crowdselect")

POLL_SECONDS = 2.0

_asked = threading.Event()


def check() -> None:
    """Raise Stopped if the run was cancelled."""
    if _asked.is_set():
        raise Stopped("the run was cancelled; committed results stay, run again to resume")


def ask() -> None:
    """Ask the run's threads to stop at their next call or shard."""
    _asked.set()


def asked() -> bool:
    """Return whether the run was asked to stop."""
    return _asked.is_set()


@contextmanager
def watched() -> Iterator[None]:
    """Watch the current flow run for a cancel while the block runs."""
    _asked.clear()
    ended = threading.Event()
    run_id = flow_run.id
    thread = threading.Thread(target=_watch, args=(run_id, ended), name="cancel", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(timeout=5)


def _watch(run_id: str, ended: threading.Event) -> None:
    with get_client(sync_client=True) as client:
        while not ended.wait(POLL_SECONDS):
            try:
                state = client.read_flow_run(run_id).state  # type: ignore[arg-type]  # str is fine
            except (httpx.HTTPError, PrefectException) as e:
                log.debug("the Prefect server did not return the run's state (%s); trying again", e)
                continue
            if state is not None and (state.is_cancelling() or state.is_cancelled()):
                _asked.set()
                return
