"""Prompts of one's own: a file of JSON Lines that the models are asked.

A line has `messages` (turns that end with the user's; an answer at their end does not count), or
else `prompt`, or else `instruction` (a text); and where wanted `id` (or `question_id`, `uid`) and
`category`, which counts where it is text. Without an id it is the hash of the prompt.
"""

from dataclasses import dataclass

from crowdselect_core.chat import Message
from crowdselect_core.errors import EvaluationError
from crowdselect_core.evaluate.files import Row, rows
from crowdselect_core.ingest.files import DataFile, opened, place_failed
from crowdselect_core.ingest.prompts import prompt_key, read_text, read_turns

PROMPTS = ("messages", "prompt", "instruction")  # the first that a line has
IDS = ("id", "question_id", "uid")  # the first that a line has


@dataclass(frozen=True)
class OwnPrompt:
    """One prompt of a file."""

    id: str
    messages: tuple[Message, ...]
    category: str | None = None


def read_prompts(path: str, limit: int | None = None) -> list[OwnPrompt]:
    """Read the prompts of a file, in its order; a line that stands twice counts once.

    Args:
        path: local, or any fsspec URL.
        limit: how many of the first ones; None: all.

    Raises:
        EvaluationError: there is no such file, it holds no prompt, a line is none, or two prompts
            have one id, or one prompt two categories.
        StorageError: the place cannot be reached.
    """
    fs, inner = opened(path, {})
    try:
        file = DataFile(fs, inner, path, fs.info(inner))
    except FileNotFoundError:
        raise EvaluationError(f"{path}: no such file; expected JSON Lines of prompts") from None
    except Exception as e:
        raise place_failed(fs, path, e) from None
    found: dict[str, OwnPrompt] = {}
    for row in rows(file):
        one = _prompt(row)
        before = found.setdefault(one.id, one)
        if before.messages == one.messages and before != one:
            row.fail("the same prompt with another category: leave one out, or give each an id")
        if before != one:
            row.fail(f"id {one.id[:80]!r} stands twice, on different prompts")
    if not found:
        raise EvaluationError(f"{path}: holds no prompt; expected lines such as {{'prompt': ...}}")
    return list(found.values())[:limit]


def _prompt(row: Row) -> OwnPrompt:
    given = next((key for key in PROMPTS if row.values.get(key) is not None), None)
    if given is None:
        row.fail("expected one of the keys messages, prompt and instruction")
    value = row.values[given]
    prompt = read_turns(value) if given == "messages" else read_text(value)
    if prompt.error is not None:
        row.fail(prompt.error)
    category = row.values.get("category")
    named = next((key for key in IDS if row.values.get(key) is not None), None)
    own = row.id(named) if named is not None else prompt_key(prompt.messages).hex()
    told = category if isinstance(category, str) and category else None
    return OwnPrompt(own, prompt.messages, told)
