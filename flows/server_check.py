"""A first look at the Prefect server that PREFECT_API_URL names, before a run begins."""

import logging
import os
import time
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

from crowdselect_core.errors import StorageError

log = logging.getLogger("crowdselect")

ANSWER = 10.0  # seconds for one answer
PATIENCE = 300.0  # seconds for a server that takes connections and is too busy to answer them


def check_server() -> None:
    """Ask a named Prefect server for its health; one that is busy is waited for.

    Raises:
        StorageError: PREFECT_API_URL names a server that nobody listens at, or that does not
            answer within PATIENCE seconds.
    """
    url = os.environ.get("PREFECT_API_URL")
    if not url:
        return
    begun, said = time.monotonic(), False
    while True:
        try:
            with urlopen(f"{url.rstrip('/')}/health", timeout=ANSWER):  # noqa: S310 - the user's
                return
        except HTTPError:
            return  # it answers; without a key it may refuse, and Prefect's client has one
        except TimeoutError:  # it took the connection; urlopen has another error where none is made
            if time.monotonic() - begun >= PATIENCE:
                raise _no_answer(url, f"did not answer for {PATIENCE:g} s") from None
        except (OSError, ValueError):
            raise _no_answer(url, "does not answer") from None
        if not said:
            log.warning(
                "waiting for the Prefect server: it took the connection and did not answer in "
                "%g s, trying again for up to %g s", ANSWER, PATIENCE,
            )  # fmt: skip
            said = True


def host(url: str) -> str:
    """Return the host of a URL, which may hold credentials elsewhere."""
    return urlsplit(url).hostname or "an unreadable URL"


def _no_answer(url: str, what: str) -> StorageError:
    return StorageError(
        f"the Prefect server at {host(url)} (PREFECT_API_URL) {what}; start it with "
        "'prefect server start', or unset PREFECT_API_URL to use a temporary one"
    )
