"""Prompts: what a row asks the crowd, read from a text or from the turns of a conversation.

A conversation that ends with an assistant turn holds the data set's own answer there; the prompt
is what comes before it. A row without a usable prompt keeps the reason in the prompt's place.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import orjson

from crowdselect_core.chat import Message
from crowdselect_core.errors import shown
from crowdselect_core.ingest.json_columns import word
from crowdselect_core.ingest.values import SPACE
from crowdselect_core.store.identity import canonical

NO_INSTRUCTION = "no_instruction"
BAD_MESSAGES = "bad_messages"

# By the names of a turn's two fields: what the words for the speaker stand for.
ROLES: Mapping[tuple[str, str], Mapping[str, str]] = {
    ("role", "content"): {
        **{r: r for r in ("system", "user", "assistant")},
        "developer": "system",  # OpenAI's later name for it
    },
    ("from", "value"): {
        **dict.fromkeys(("system", "developer"), "system"),
        **dict.fromkeys(("human", "user"), "user"),
        **dict.fromkeys(("gpt", "assistant", "chatgpt"), "assistant"),
    },
}
# What polars strips (str.strip takes four control characters more), so that a row is refused
# here exactly when the stage `answers` bars it.
_BLANK = "".join(c for c in SPACE if c not in "\x1c\x1d\x1e\x1f")


@dataclass(frozen=True, slots=True)
class Prompt:
    """The turns that the crowd answers, or why there are none.

    `error` begins with a short code: 'no_instruction: ...' or 'bad_messages: ...'. With an error
    there are no messages.
    """

    messages: tuple[Message, ...]
    error: str | None = None

    @property
    def text(self) -> str:
        """The user turns, joined by blank lines."""
        return "\n\n".join(m["content"] for m in self.messages if m["role"] == "user")

    @property
    def is_plain(self) -> bool:
        """Whether it is one user turn and nothing else."""
        return len(self.messages) == 1


class _Unusable(Exception):
    """A row has no usable prompt: the code and the words of its error."""


def prompt_key(messages: Sequence[Message]) -> bytes:
    """Return the first 16 bytes of the sha256 of the canonical JSON of a prompt's messages."""
    turns = [{"content": m["content"], "role": m["role"]} for m in messages]
    try:
        text = orjson.dumps(turns)  # of texts alone the same bytes, in a tenth of the time
    except TypeError:  # a lone surrogate
        text = canonical(turns)
    return sha256(text).digest()[:16]


def content_id(prompt: Prompt, values: Sequence[object]) -> str:
    """Return the id of a row without one: 32 hex digits of `prompt_key`.

    Args:
        prompt: of the row.
        values: what the row's columns hold; a row without a usable prompt is told by them.
    """
    if prompt.error is None:
        return prompt_key(prompt.messages).hex()
    return sha256(canonical(["refused", repr(list(values))])).hexdigest()[:32]


def is_blank(text: object) -> bool:
    """Tell what is no text, or white space alone."""
    return not isinstance(text, str) or not text.strip(_BLANK)


def read_text(text: object, more: object = None, system: object = None) -> Prompt:
    """Return the prompt of an instruction, its input (after a blank line) and a system text."""
    if (error := _not_text("input", more) or _not_text("system text", system)) is not None:
        return Prompt((), error)
    if not isinstance(text, str) or is_blank(text):
        return Prompt((), f"{NO_INSTRUCTION}: the row has no instruction text")
    whole = text if is_blank(more) else f"{text}\n\n{more}"
    return Prompt((*_system(system), {"role": "user", "content": whole}))


def _not_text(name: str, value: object) -> str | None:
    """Say what a part of a row is where it is no text; None where it is, or is absent."""
    if value is None:
        return None
    if not isinstance(value, str):
        return f"{BAD_MESSAGES}: the row's {name} is {word(value)}, expected text"
    if not _is_whole(value):
        return f"{BAD_MESSAGES}: the row's {name} is no valid UTF-8"
    return None


def _is_whole(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def turns_of(value: object) -> object:
    """Return turns; those that a row holds as JSON text are parsed, anything else is as it was."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def read_turns(turns: object, system: object = None) -> Prompt:
    """Return the prompt of a conversation.

    Args:
        turns: a list of {role, content} or {from, value}, or its JSON text. A content is a text,
            or a list of parts that are texts.
        system: the text of a system message that stands outside the turns; turns that begin with
            one of their own keep that.
    """
    if (error := _not_text("system text", system)) is not None:
        return Prompt((), error)
    try:
        messages = _checked(turns_of(turns))
    except _Unusable as e:
        return Prompt((), ": ".join(e.args)[:500])
    own = messages[0]["role"] == "system"
    return Prompt(tuple(messages if own else [*_system(system), *messages]))


def _system(text: object) -> list[Message]:
    if not isinstance(text, str) or is_blank(text):
        return []
    return [{"role": "system", "content": text}]


def _checked(turns: object) -> list[Message]:
    """Return the messages of a prompt; a blank system turn says nothing and is left out."""
    if turns is None or turns == []:
        raise _Unusable(NO_INSTRUCTION, "the row has no turns")
    if not isinstance(turns, list):
        raise _Unusable(BAD_MESSAGES, f"the row holds no list of turns, but {word(turns)}")
    messages = [_turn(turn, place) for place, turn in enumerate(turns, 1)]
    if messages[0]["role"] == "system" and is_blank(messages[0]["content"]):
        del messages[0]
    if messages and messages[-1]["role"] == "assistant":
        del messages[-1]  # the data set's own answer
    if not any(m["role"] == "user" for m in messages):
        raise _Unusable(NO_INSTRUCTION, "the row has no user turn")
    if messages[-1]["role"] != "user":
        raise _Unusable(BAD_MESSAGES, "the last turn of the prompt is not the user's")
    if is_blank(messages[-1]["content"]):
        raise _Unusable(NO_INSTRUCTION, "the last user turn is empty")
    _check_order(messages)
    return messages


def _check_order(messages: Sequence[Message]) -> None:
    """Refuse what chat templates refuse: users and assistants that do not take turns."""
    spoken = messages[1:] if messages[0]["role"] == "system" else messages
    for place, message in enumerate(spoken):
        wanted = "assistant" if place % 2 else "user"
        if message["role"] != wanted:
            raise _Unusable(
                BAD_MESSAGES,
                f"a turn of the {message['role']} stands where the {wanted}'s was expected; user "
                "and assistant take turns after at most one system turn",
            )
        if is_blank(message["content"]):
            raise _Unusable(BAD_MESSAGES, f"a turn of the {wanted} is empty")


def _turn(turn: Any, place: int) -> Message:
    """Return one turn as a message; of two pairs of keys, that which has a role counts."""
    pairs = [k for k in ROLES if isinstance(turn, dict) and k[0] in turn]
    keys = next((k for k in pairs if turn[k[0]] is not None), None)
    if keys is None:
        raise _Unusable(BAD_MESSAGES, f"turn {place} has no role")
    said, content = turn[keys[0]], turn.get(keys[1])
    role = ROLES[keys].get(said) if isinstance(said, str) else None
    if role is None:
        raise _Unusable(
            BAD_MESSAGES,
            f"turn {place} has the unknown role {shown([said])[:80]}; known: "
            f"{shown(list(ROLES[keys]))}",
        )
    if content is None and role == "system":
        content = ""  # a system turn that says nothing
    text = _joined(content, place) if isinstance(content, list) else content
    if not isinstance(text, str):
        raise _Unusable(BAD_MESSAGES, f"turn {place} has content that is no text")
    if not _is_whole(text):
        raise _Unusable(BAD_MESSAGES, f"turn {place} is no valid UTF-8")
    return {"role": role, "content": text}


def _joined(parts: list[Any], place: int) -> str:
    """Return the text of a content that is a list of parts, as chat templates join them."""
    for part in parts:
        if isinstance(part, dict) and not isinstance(part.get("text"), str):
            kind = shown([str(part.get("type"))])[:40]
            raise _Unusable(BAD_MESSAGES, f"turn {place} has a part of the type {kind} and no text")
        if not isinstance(part, str | dict):
            raise _Unusable(BAD_MESSAGES, f"turn {place} has content that is no text")
    return "".join(part if isinstance(part, str) else part["text"] for part in parts)
