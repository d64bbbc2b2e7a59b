"""A file that says which rows are held out: ids, or prompts."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson

from crowdselect_core.errors import ConfigError, first_line
from crowdselect_core.ingest.prompts import Prompt, prompt_key, read_text, read_turns
from crowdselect_core.selection.id_lists import read_ids
from crowdselect_core.store.identity import canonical
from crowdselect_core.urls import shown_path

KEYS = ("instruction_id", "prompt", "messages")


@dataclass(frozen=True)
class HeldoutList:
    """What a file names: rows by their ids, and prompts by their keys (`prompt_key`)."""

    ids: frozenset[str]
    prompts: frozenset[bytes]

    @property
    def digest(self) -> str:
        """Hash of what is named, whatever the order and the file."""
        named = [sorted(self.ids), sorted(key.hex() for key in self.prompts)]
        return sha256(canonical(named)).hexdigest()

    def __len__(self) -> int:
        return len(self.ids) + len(self.prompts)


def read_heldout(path: str) -> HeldoutList:
    """Read a list of held-out rows.

    A `.jsonl` file has one object a line, with one of the keys instruction_id, prompt (a text) and
    messages (turns; a last one of the assistant is no part of the prompt). Any other file is a list
    of ids (`selection.id_lists`).

    Raises:
        ConfigError: the file is missing, empty, or a line is none of these.
    """
    if not path.endswith(".jsonl"):
        return HeldoutList(frozenset(read_ids(path)), frozenset())
    where, ids, prompts = shown_path(path), set[str](), set[bytes]()
    try:
        lines = Path(path).read_bytes().split(b"\n")
    except OSError as e:
        raise ConfigError(f"heldout.file {where}: cannot be read: {type(e).__name__}") from None
    for number, line in enumerate(lines, 1):
        if line.strip():
            one = _entry(line, f"heldout.file {where}, line {number}")
            ids.update([one] if isinstance(one, str) else [])
            prompts.update([one] if isinstance(one, bytes) else [])
    if not ids and not prompts:
        raise ConfigError(f"heldout.file {where}: is empty; expected one object a line")
    return HeldoutList(frozenset(ids), frozenset(prompts))


def _entry(line: bytes, where: str) -> str | bytes:
    """Return the id or the key of the prompt that a line names."""
    try:
        told: Any = orjson.loads(line)
    except orjson.JSONDecodeError as e:
        raise ConfigError(f"{where}: is no JSON: {first_line(e)}") from None
    found = [key for key in KEYS if isinstance(told, dict) and told.get(key) is not None]
    if not found:
        raise ConfigError(f"{where}: expected an object with one of the keys {', '.join(KEYS)}")
    value = told[found[0]]
    if found[0] == "instruction_id":
        if not isinstance(value, str | int) or isinstance(value, bool):
            raise ConfigError(f"{where}: instruction_id is {type(value).__name__}, expected a text")
        return str(value)
    prompt: Prompt = read_text(value) if found[0] == "prompt" else read_turns(value)
    if prompt.error is not None:
        raise ConfigError(f"{where}: {prompt.error}")
    return prompt_key(prompt.messages)
