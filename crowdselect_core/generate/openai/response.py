"""From what an OpenAI-compatible server replied, or failed to, to an answer or a trouble.

Everything here comes from a server: shapes are checked, words are cut, cleaned and stripped of the
key before anyone sees them.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import aiohttp
import openai
import orjson

from crowdselect_core.generate.base import Answer, Failure, checked, failed

MOST_WORDS = 200  # characters of a server's message
LONGEST_WAIT = 120.0  # seconds of a Retry-After that are obeyed
OPENING, CLOSING = "<think>", "</think>"

# OpenAI, vLLM, SGLang, llama.cpp and text-generation-inference, in this order.
_TOO_LONG = re.compile(
    r"context_length_exceeded|maximum context length|longer than the max(imum)? ?model.?len"
    r"|model's context length|exceeds? the available context size|maximum input length"
    r"|prompt is too long|context window",
    re.IGNORECASE,
)
_FILTERED = re.compile(
    r"content_filter|content_policy_violation|ResponsibleAIPolicyViolation", re.IGNORECASE
)
_RETRIED = {408: "timeout", 409: "server_error", 429: "rate_limited"}
_UNPRINTABLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]+"
)


T = TypeVar("T")


class BadReply(ValueError):
    """A reply that is no chat completion."""


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

    def answer(self, key: bytes, where: str) -> Answer:
        """Return the failed answer of a cell that the endpoint `where` did not give."""
        return failed(key, self.code, f"{where}: {self.words}", self.failure)


def read_reply(key: bytes, raw: bytes) -> Answer:
    """Read the body of a chat completion.

    A thinking block at the very start of the text is told apart where the server has not done so;
    one that never ends leaves no answer.

    Raises:
        BadReply: it is not JSON, or not the shape of a chat completion.
    """
    reply = read_json(raw)
    choice = _first(reply.get("choices"))
    finish = _expect(choice.get("finish_reason"), str, "finish_reason")
    if finish == "content_filter":
        return failed(key, "content_filter", "the server withheld the answer", Failure.ROW)
    message = _expect(choice.get("message"), dict, "message")
    if message is None:
        raise BadReply("no message in the first choice")
    text = _expect(message.get("content"), str, "content")
    if text is None:
        if finish is None:
            raise BadReply("neither content nor finish_reason")
        text = ""
    reasoning = _expect(
        message.get("reasoning") or message.get("reasoning_content"), str, "reasoning"
    )
    if not reasoning:
        text, reasoning = split_thinking(text)
    usage = _expect(reply.get("usage"), dict, "usage") or {}
    return checked(
        Answer(
            key, text, reasoning, finish,
            _count(usage, "prompt_tokens"), _count(usage, "completion_tokens"),
        )
    )  # fmt: skip


def split_thinking(text: str) -> tuple[str, str | None]:
    """Split '<think>...</think>answer' into the answer and the thinking, if there is any."""
    start = text.lstrip()
    if not start.startswith(OPENING):
        return text, None
    thinking, _, answer = start.removeprefix(OPENING).partition(CLOSING)
    return answer.lstrip(), thinking.strip()


def trouble_of(error: Exception, key: str | None) -> Trouble:
    """Say what an error of a request means.

    Args:
        error: the SDK's, a BadReply, or a TimeoutError where the time for a request was up.
        key: what must not appear in a message.

    Raises:
        Exception: the error itself, when it is none that a server or the network can cause.
    """
    match error:
        case TimeoutError():
            return Trouble("timeout", "no whole reply in time", again=True)
        case BadReply():
            return Trouble("bad_reply", clean(str(error), key), again=True)
        case openai.APIStatusError():
            return _of_status(error, key)
        case openai.APIConnectionError() | aiohttp.ClientError():
            root = _root(error)
            return Trouble(
                "connection", clean(str(root), key) or type(root).__name__,
                again=True, unreached=_unreached(error),
            )  # fmt: skip
    raise error


def _of_status(error: openai.APIStatusError, key: str | None) -> Trouble:
    status = error.status_code
    words = server_words(error)
    shown = f"{status} {clean(words, key)}"
    wait = retry_after(error.response.headers, datetime.now(UTC))
    if status in _RETRIED or status >= 500:
        return Trouble(
            _RETRIED.get(status, "server_error"), shown, again=True, status=status,
            overload=status in (429, 503), wait=wait,
        )  # fmt: skip
    if status in (400, 413, 422):
        told = f"{error.code} {error.type} {words}"
        if _TOO_LONG.search(told):
            return Trouble("prompt_too_long", shown, Failure.ROW, status=status)
        if _FILTERED.search(told):
            return Trouble("content_filter", shown, Failure.ROW, status=status)
        # Most often a parameter that the server does not take: then it is so for every row.
        return Trouble("bad_request", shown, status=status)
    return Trouble("http_error", shown, status=status)


def server_words(error: openai.APIStatusError) -> str:
    """Return what the server said of its refusal, as it said it."""
    body = error.body
    if isinstance(body, dict):
        words = body.get("message") or body.get("detail") or body
        return words if isinstance(words, str) else repr(words)
    return str(body or error.response.text)


def clean(words: str, key: str | None) -> str:
    """Return a server's words fit for a log: without the key and control characters, and short."""
    if key:
        words = words.replace(key, "***")
    return _UNPRINTABLE.sub(" ", words).strip()[:MOST_WORDS]


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the seconds of a Retry-After header (a number or a date), at most LONGEST_WAIT."""
    given = headers.get("retry-after", "").strip()
    try:
        seconds = float(given)
    except ValueError:
        try:
            date = parsedate_to_datetime(given)
        except ValueError:
            return None
        seconds = (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds()
    return min(max(seconds, 0.0), LONGEST_WAIT) if seconds == seconds else None  # not NaN


def read_json(raw: bytes) -> dict[str, Any]:
    """Read a JSON object; invalid UTF-8 is left in it as lone surrogates.

    Raises:
        BadReply: it is none.
    """
    try:
        reply = orjson.loads(raw)
    except orjson.JSONDecodeError:
        # orjson takes no invalid UTF-8, and that is a fault of the answer, not of the reply.
        try:
            reply = json.loads(raw.decode("utf-8", "surrogateescape"))
        except (ValueError, RecursionError):
            raise BadReply(f"{len(raw):,} bytes that are not JSON") from None
    if not isinstance(reply, dict):
        raise BadReply(f"a {type(reply).__name__}, expected an object")
    return reply


def _first(choices: Any) -> dict[str, Any]:
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        found = "an empty list" if choices == [] else type(choices).__name__
        raise BadReply(f"choices is {found}, expected a list of objects")
    return choices[0]


def _expect(value: Any, kind: type[T], name: str) -> T | None:
    if value is not None and not isinstance(value, kind):
        raise BadReply(f"{name} is a {type(value).__name__}, expected {kind.__name__}")
    return value


def _count(usage: dict[str, Any], name: str) -> int | None:
    value = usage.get(name)
    if value is None or (type(value) is int and 0 <= value < 2**31):
        return value
    raise BadReply(f"usage.{name} is no count of tokens")


def _causes(error: BaseException) -> list[BaseException]:
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) and cause not in chain:
        chain.append(cause)
    return chain


def _root(error: BaseException) -> BaseException:
    return next((c for c in reversed(_causes(error)) if str(c)), error)


def _unreached(error: BaseException) -> bool:
    # aiohttp's own errors: what the SDK makes of them does not tell refused from cut.
    nowhere = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
    return any(isinstance(cause, nowhere) for cause in _causes(error))
