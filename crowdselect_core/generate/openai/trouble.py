"""Why a request to a model server got no answer, and what follows from it.

Words come from a server: they are cut, cleaned and stripped of keys before anyone sees them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp

from crowdselect_core.generate.base import Answer, Failure, failed
from crowdselect_core.generate.openai.error_body import ErrorBody, read_error
from crowdselect_core.generate.openai.wordings import implied_status, row_fault

MOST_WORDS = 200  # characters of a server's message
LONGEST_WAIT = 120.0  # seconds of a Retry-After that are obeyed
SET_ASIDE = (401, 403, 404)  # the endpoint's refusal or the row's own: see `refusals`
_RETRIED = {408: "timeout", 409: "server_error", 425: "server_error", 429: "rate_limited"}
_UNPRINTABLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]+"
)
# What a server may repeat of a request's credentials, whole or in part.
_SECRETS = (
    (re.compile(r"\b(bearer|basic)\s+[A-Za-z0-9+/._~=-]{12,}", re.IGNORECASE), r"\1 ***"),
    (re.compile(r"\bsk-[A-Za-z0-9_-]{6,}"), "sk-***"),
    (re.compile(r"//[^/@\s]+@"), "//***@"),
)


class BadReply(ValueError):
    """A reply that is no chat completion."""


class ReplyError(ValueError):
    """A reply whose status says that all is well, with an error in place of an answer.

    Args:
        error: what it says.
    """

    def __init__(self, error: ErrorBody) -> None:
        super().__init__(error.words)
        self.error = error


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a request got no answer, and what follows from it."""

    code: str
    words: str  # the server's or the network's, cleaned
    failure: Failure = Failure.INFRASTRUCTURE
    again: bool = False  # it may pass: worth another try
    overload: bool = False  # the server has too many requests
    unreached: bool = False  # there was no connection at all
    wait: float | None = None  # seconds that the server asked for
    status: int | None = None

    @property
    def is_set_aside(self) -> bool:
        """Whether it depends on other calls whose fault this is."""
        return self.status in SET_ASIDE

    def of_row(self) -> "Trouble":
        """Return it as the row's own fault; a refused key never is."""
        return self if self.status == 401 else replace(self, failure=Failure.ROW)

    def answer(self, key: bytes, where: str) -> Answer:
        """Return the failed answer of a cell that the endpoint `where` did not give."""
        return failed(key, self.code, f"{where}: {self.words}", self.failure)


def trouble_of(error: Exception, key: str | None) -> Trouble:
    """Say what an error of a request means.

    Args:
        error: aiohttp's or the network's, a BadReply, a ReplyError, or a TimeoutError where the
            time for a request was up.
        key: what must not appear in a message.

    Raises:
        Exception: the error itself, when it is none that a server or the network can cause.
    """
    match error:
        case ReplyError():
            return _of_error(error.error.status, error.error, {}, key)
        case BadReply():
            return Trouble("bad_reply", clean(str(error), key), again=True)
        case aiohttp.ClientConnectorError() | aiohttp.ConnectionTimeoutError():
            return Trouble("connection", _network(error, key), again=True, unreached=True)
        case TimeoutError():
            return Trouble("timeout", "no whole reply in time", again=True)
        case aiohttp.ClientError() | OSError():
            return Trouble("connection", _network(error, key), again=True)
    raise error


def trouble_of_reply(
    status: int, headers: Mapping[str, str], raw: bytes, key: str | None
) -> Trouble:
    """Say what a reply means whose status is none of success."""
    return _of_error(status, read_error(raw), headers, key)


def clean(words: str, key: str | None) -> str:
    """Return a server's words fit for a log: without keys and control characters, and short."""
    if key:
        words = words.replace(key, "***")
    for secret, shown in _SECRETS:
        words = secret.sub(shown, words)
    return _UNPRINTABLE.sub(" ", words).strip()[:MOST_WORDS]


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the seconds of a Retry-After header (a number or a date), at most LONGEST_WAIT."""
    given = next((v for k, v in headers.items() if k.lower() == "retry-after"), "").strip()
    try:
        seconds = float(given)
    except ValueError:
        try:
            date = parsedate_to_datetime(given)
        except ValueError:
            return None
        seconds = (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds()
    return min(max(seconds, 0.0), LONGEST_WAIT) if seconds == seconds else None  # not NaN


def _of_error(
    named: int | None, error: ErrorBody, headers: Mapping[str, str], key: str | None
) -> Trouble:
    status = named if named is not None else implied_status(error.told)
    shown = f"{'' if named is None else named} {clean(error.words, key)}".strip()
    code = row_fault(status, error.told) if status not in (401, 404) else None
    if status in SET_ASIDE:
        known = {401: "http_error", 403: "forbidden", 404: "not_found"}[status]
        words = "401 the key is refused" if status == 401 else shown  # a 401 may quote the key
        return Trouble(code or known, words, status=status)
    if code is not None:
        return Trouble(code, shown, Failure.ROW, status=status)
    if status in _RETRIED or status >= 500:
        return Trouble(
            _RETRIED.get(status, "server_error"), shown, again=True, status=status,
            overload=status in (429, 503, 529), wait=retry_after(headers, datetime.now(UTC)),
        )  # fmt: skip
    # Most often a parameter that the server does not take: then it is so for every row.
    name = "bad_request" if status in (400, 422) else "http_error"
    return Trouble(name, shown, status=status)


def _network(error: Exception, key: str | None) -> str:
    """Return the words of a network error, or its kind where it has none."""
    return clean(str(error), key) or type(error).__name__
