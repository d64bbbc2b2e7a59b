"""The ways in which `faulty_endpoint` fails; each is one that real servers and proxies have."""

import asyncio
from typing import Any, Protocol

import orjson
from aiohttp import web

HANG = 3600.0  # seconds; longer than any client waits
LARGE = 1_200_000  # characters of an answer that is too large

# kind -> status, message and code of OpenAI's error object
_ERRORS = {
    "400": (400, "unknown parameter", None),
    "401": (401, "incorrect API key provided", "invalid_api_key"),
    "404": (404, "the model does not exist", "model_not_found"),
    "429": (429, "too many requests", "rate_limit_exceeded"),
    "500": (500, "the engine broke", None),
    "503": (503, "overloaded", None),
    "policy": (400, "the prompt was filtered", "content_policy_violation"),
    "too_long": (
        400,
        "This model's maximum context length is 1024 tokens. However, your request has 5012 "
        "input tokens. Please reduce the length of the input messages.",
        None,
    ),
}
_WAYS = (
    "hang", "cut", "cut_body", "half_json", "no_choices", "choices_string", "no_message",
    "content_number", "usage_string", "large", "nul", "invalid_utf8", "content_filter",
)  # fmt: skip
KINDS = (*_ERRORS, *_WAYS)


class Asks(Protocol):
    """What a fault needs to know of the endpoint's options."""

    @property
    def retry_after(self) -> float:
        """Seconds that a 429 asks for."""
        ...


def reply(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """Return a JSON response."""
    return _raw(orjson.dumps(body), status, headers)


async def serve(
    kind: str, request: web.Request, whole: dict[str, Any], options: Asks
) -> web.StreamResponse:
    """Serve a fault of a kind in the place of the whole completion.

    An error repeats the request's Authorization header, as careless proxies do.
    """
    if kind in _ERRORS:
        status, message, code = _ERRORS[kind]
        sent = request.headers.get("Authorization", "none")
        headers = {"Retry-After": f"{options.retry_after:g}"} if kind == "429" else None
        error = {"message": f"{message} (authorization: {sent})", "type": "error", "code": code}
        return reply({"error": error}, status, headers)
    if kind == "hang":
        await asyncio.sleep(HANG)
    if kind == "half_json":
        raw = orjson.dumps(whole)
        return _raw(raw[: len(raw) // 2])
    if kind in ("cut", "cut_body"):
        return await _cut(request, orjson.dumps(whole), begin=kind == "cut_body")
    if kind == "invalid_utf8":
        text: str = whole["choices"][0]["message"]["content"]
        return _raw(orjson.dumps(whole).replace(text.encode(), b"caf\xe9 " + text.encode()))
    return reply(_misshapen(kind, whole))


def _raw(raw: bytes, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=raw, status=status, headers=headers, content_type="application/json")


async def _cut(request: web.Request, raw: bytes, *, begin: bool) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": str(len(raw))})
    if begin:
        await response.prepare(request)
        await response.write(raw[: len(raw) // 2])
    if request.transport is not None:
        request.transport.close()  # sends what was written, and then no more
    return response


def _misshapen(kind: str, whole: dict[str, Any]) -> dict[str, Any]:
    choice = whole["choices"][0]
    message = choice["message"]
    match kind:
        case "no_choices":
            return whole | {"choices": []}
        case "choices_string":
            return whole | {"choices": "none today"}
        case "no_message":
            return whole | {"choices": [{"index": 0, "finish_reason": "stop"}]}
        case "usage_string":
            return whole | {"usage": {"prompt_tokens": "many", "completion_tokens": -1}}
        case "content_filter":
            return whole | {"choices": [choice | {"finish_reason": kind}]}
    content: Any = {
        "content_number": 42,
        "large": "word " * (LARGE // 5),
        "nul": f"{message['content']}\0",
    }[kind]
    return whole | {"choices": [choice | {"message": message | {"content": content}}]}
