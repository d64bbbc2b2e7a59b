"""From the body of a chat completion to an answer; shapes are checked, it comes from a server."""

import json
from typing import Any, TypeVar

import orjson

from crowdselect_core.generate.base import Answer, Failure, checked, failed
from crowdselect_core.generate.openai.error_body import ErrorBody, error_in, error_of
from crowdselect_core.generate.openai.trouble import BadReply, ReplyError
from crowdselect_core.util.finish_reasons import Ending, normalise_finish_reason
from crowdselect_core.util.thinking import split_thinking

THOUGHTS = ("thinking", "reasoning", "reasoning_content", "thought")  # types of a content part
NAME = 200  # characters of a model's name that are kept

T = TypeVar("T")


def read_reply(key: bytes, raw: bytes) -> Answer:
    """Read the body of a chat completion.

    A thinking block at the start of the text, or one whose opening tag the chat template has
    written, is told apart where the server has not done so; one that never ends leaves no answer.

    Raises:
        BadReply: it is not JSON, or not the shape of a chat completion.
        ReplyError: it holds an error, or says that the server broke the answer off.
    """
    reply = read_json(raw)
    if (error := error_in(reply)) is not None:
        raise ReplyError(error_of(error))
    choice = _first(reply.get("choices"))
    if choice.get("error"):
        raise ReplyError(error_of(choice["error"]))
    said = _expect(choice.get("finish_reason"), str, "finish_reason")
    finish = normalise_finish_reason(said)
    if finish.ending is Ending.FAILED:
        raise ReplyError(ErrorBody(f"the server broke the answer off (finish_reason {said})", ""))
    if finish.ending is Ending.FILTERED:
        why = f"the server withheld the answer (finish_reason {said})"
        return failed(key, "content_filter", why, Failure.ROW)
    message = _expect(choice.get("message"), dict, "message")
    if message is None:
        raise BadReply("no message in the first choice")
    text, thoughts = _content(message.get("content"))
    if text is None:
        if said is None:
            raise BadReply("neither content nor finish_reason")
        text = ""
    reasoning = thoughts or _expect(
        message.get("reasoning") or message.get("reasoning_content"), str, "reasoning"
    )
    if not reasoning:
        text, reasoning = split_thinking(text)
    usage = reply.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return checked(
        Answer(
            key, text, reasoning, finish.name,
            _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")),
            served_model=_name(reply.get("model")),
        )
    )  # fmt: skip


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
    if isinstance(reply, list) and len(reply) == 1:  # Gemini wraps its errors so
        reply = reply[0]
    if not isinstance(reply, dict):
        raise BadReply(f"a {type(reply).__name__}, expected an object")
    return reply


def _content(content: Any) -> tuple[str | None, str | None]:
    """Return the text of a message's content and its thinking; of parts, those of each joined."""
    if content is None or isinstance(content, str):
        return content, None
    parts = [content] if isinstance(content, dict) else content
    if not isinstance(parts, list):
        raise BadReply(f"content is a {type(content).__name__}, expected text or parts")
    texts: list[str] = []
    thoughts: list[str] = []
    try:
        for part in parts:
            thinks = isinstance(part, dict) and part.get("type") in THOUGHTS
            (thoughts if thinks else texts).append(_part_text(part))
    except RecursionError:
        raise BadReply("content parts inside parts without end") from None
    return "".join(texts), "".join(thoughts) or None


def _part_text(part: Any) -> str:
    """Return the text of a content part, '' of one that is no text (an image)."""
    if isinstance(part, str):
        return part
    if isinstance(part, list):
        return "".join(map(_part_text, part))
    if not isinstance(part, dict):
        raise BadReply(f"a content part is a {type(part).__name__}, expected an object")
    for name in ("text", *THOUGHTS, "content", "summary"):
        if part.get(name) is not None:
            return _part_text(part[name])
    return ""


def _first(choices: Any) -> dict[str, Any]:
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        found = "an empty list" if choices == [] else type(choices).__name__
        raise BadReply(f"choices is {found}, expected a list of objects")
    return choices[0]


def _expect(value: Any, kind: type[T], name: str) -> T | None:
    if value is not None and not isinstance(value, kind):
        raise BadReply(f"{name} is a {type(value).__name__}, expected {kind.__name__}")
    return value


def _name(value: Any) -> str | None:
    """Return the name of a model, None for what is none."""
    return value[:NAME] if isinstance(value, str) and value and value.isprintable() else None


def _count(value: Any) -> int | None:
    """Return a count of tokens, None for what is none: some servers send 5.0, or 'many'."""
    return value if type(value) is int and 0 <= value < 2**31 else None
