"""The error that a server's reply holds, in whatever shape it comes.

OpenAI's object, vLLM's flat one, a list around it (Gemini), a bare string (TGI), FastAPI's detail,
MiniMax's base_resp, OpenRouter's metadata, a proxy's HTML page. Only fields that are meant to tell
of the error are read: others repeat the prompt.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

MOST = 20_000  # characters of an error that are looked at
DEPTH = 5  # objects inside objects
WORDS = ("message", "msg", "error_message", "error_msg", "errorMessage", "status_msg", "detail",
         "description", "reason", "raw")  # fmt: skip
CODES = ("code", "type", "error_type", "error_code", "status", "status_code")
INSIDE = ("error", "errors", "innererror", "inner_error", "metadata", "details", "detail",
          "base_resp", "reasons")  # fmt: skip
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<(script|style)\b.*?</\1>|<[^>]*>", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """What a server says of its refusal."""

    words: str  # for people
    told: str  # codes and words, for the table of wordings
    status: int | None = None  # the HTTP status that it names


def read_error(raw: bytes) -> ErrorBody:
    """Read the body of a refusal."""
    text = raw[: 4 * MOST].decode("utf-8", "replace")[:MOST]
    try:
        return error_of(orjson.loads(raw))
    except orjson.JSONDecodeError:
        title = _TITLE.search(text)
        plain = " ".join(_TAG.sub(" ", title[1] if title else text).split())
        return ErrorBody(plain, plain)


def error_of(value: Any) -> ErrorBody:
    """Read an error that is JSON."""
    words = list(dict.fromkeys(_strings(value, WORDS, 0)))
    codes = list(dict.fromkeys(_strings(value, CODES, 0)))
    shown = "; ".join(words) or ", ".join(codes) or repr(value)
    return ErrorBody(shown[:MOST], " ".join([*codes, *words])[:MOST], _status(codes))


def error_in(reply: dict[str, Any]) -> Any:
    """Return the error of a reply whose status says that all is well; None where there is none."""
    if reply.get("error"):
        return reply if isinstance(reply["error"], str) else reply["error"]
    if reply.get("choices"):
        return None
    base = reply.get("base_resp")
    if isinstance(base, dict) and base.get("status_code"):
        return base
    told = reply.get("object") == "error" or reply.get("errors") or reply.get("detail")
    return reply if told else None


def _strings(value: Any, names: tuple[str, ...], depth: int) -> Iterator[str]:
    if isinstance(value, str):
        if names is WORDS and value.strip():
            yield value
    elif isinstance(value, list) and depth < DEPTH:
        for one in value[:5]:
            yield from _strings(one, names, depth + 1)
    elif isinstance(value, dict) and depth < DEPTH:
        for name in names:
            told = value.get(name)
            if isinstance(told, str | int) and not isinstance(told, bool) and str(told).strip():
                yield str(told)
        for name in INSIDE:
            yield from _strings(value.get(name), names, depth + 1)


def _status(codes: list[str]) -> int | None:
    numbers = (int(code) for code in codes if code.isascii() and code.isdigit())
    return next((number for number in numbers if 400 <= number < 600), None)
