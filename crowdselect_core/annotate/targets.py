"""Examples of a target task: a JSON Lines file of chats, or of instructions with their answers."""

import json
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from crowdselect_core.chat import Message
from crowdselect_core.errors import ConfigError, first_line
from crowdselect_core.ingest.prompts import prompt_key
from crowdselect_core.store.cache.key_index import cell_key

PROMPTS = ("instruction", "prompt")
ANSWERS = ("output", "response", "completion")
ROLES = ("system", "user", "assistant")


@dataclass(frozen=True, slots=True)
class Target:
    """One example: the turns before the answer, and the answer ('' where there is none)."""

    messages: tuple[Message, ...]
    response: str

    @property
    def key(self) -> bytes:
        """The 16 bytes that name its annotation, as of a row with the same texts."""
        response = self.response.encode("utf-8", "surrogatepass")
        return cell_key(prompt_key(self.messages), response)


def read_targets(path: str) -> tuple[Target, ...]:
    """Read examples: a line is {messages: [...]}, or {instruction or prompt, output or response}.

    Raises:
        ConfigError: the file cannot be read, is empty, or a line holds no example.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as e:
        raise ConfigError(f"rds.targets {path!r} cannot be read: {first_line(e)}") from None
    return _targets(path, data)


def targets_identity(path: str) -> str:
    """Name the examples by their content, in their order; raises as `read_targets` does."""
    return sha256(b"".join(target.key for target in read_targets(path))).hexdigest()


@lru_cache(maxsize=4)
def _targets(path: str, data: bytes) -> tuple[Target, ...]:
    found = []
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.strip():
            where = f"rds.targets {path!r}, line {number}"
            try:
                found.append(_target(json.loads(line), where))
            except (ValueError, RecursionError) as e:
                if isinstance(e, ConfigError):
                    raise
                raise ConfigError(f"{where}: is no JSON ({first_line(e)})") from None
    if not found:
        raise ConfigError(f"rds.targets {path!r} holds no example, expected one JSON object a line")
    return tuple(found)


def _target(row: Any, where: str) -> Target:
    expected = "expected {messages: [{role, content}]}, or {instruction, output}"
    if not isinstance(row, dict):
        raise ConfigError(f"{where}: is no object, {expected}")
    if isinstance(row.get("messages"), list):
        turns = [_turn(turn, where) for turn in row["messages"]]
        response = turns.pop()["content"] if turns and turns[-1]["role"] == "assistant" else ""
        if not any(turn["role"] == "user" for turn in turns):
            raise ConfigError(f"{where}: has no user turn, {expected}")
        return Target(tuple(turns), response)
    prompt = next((row[name] for name in PROMPTS if isinstance(row.get(name), str)), "")
    answer = next((row[name] for name in ANSWERS if isinstance(row.get(name), str)), "")
    if not prompt.strip():
        raise ConfigError(f"{where}: has no prompt, {expected}")
    return Target((Message(role="user", content=prompt),), answer)


def _turn(turn: Any, where: str) -> Message:
    if not isinstance(turn, dict) or not isinstance(turn.get("content"), str):
        raise ConfigError(f"{where}: a turn is no object with role and content")
    if turn.get("role") not in ROLES:
        raise ConfigError(f"{where}: a turn has another role than {', '.join(ROLES)}")
    return Message(role=turn["role"], content=turn["content"])
