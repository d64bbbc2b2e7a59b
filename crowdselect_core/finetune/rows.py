"""The rows of a training: the selection's conversations or a file's, tokenised and counted."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import polars as pl

from crowdselect_core.config.finetune import TrainingConfig
from crowdselect_core.errors import ConfigError, DatasetError
from crowdselect_core.finetune.chat_turns import ChatTurns, Messages, Tokens
from crowdselect_core.store.identity import canonical

ROLES = {"system", "user", "assistant"}


class Tokenised(Protocol):
    """A row as a trainer takes it."""

    @property
    def total(self) -> int:
        """Tokens that are computed."""

    @property
    def longest(self) -> int:
        """Tokens of its longest sequence."""

    @property
    def trained(self) -> int:
        """Tokens that are trained."""


Row = TypeVar("Row", bound=Tokenised)


@dataclass(frozen=True)
class ChatRows:
    """Conversations in the order of the selection, with their ids."""

    ids: Sequence[str]
    messages: Sequence[Messages]

    @property
    def sha256(self) -> str:
        """sha256 of all conversations in order, in hex; ids do not count."""
        hashed = sha256()
        for one in self.messages:
            hashed.update(canonical([[m["role"], m["content"]] for m in one]) + b"\n")
        return hashed.hexdigest()


@dataclass
class TrainingRows(Generic[Row]):
    """The rows that are trained, and what was counted of all."""

    ids: list[str] = field(default_factory=list)
    tokens: list[Row] = field(default_factory=list)
    truncated: int = 0  # rows cut at max_length
    dropped_long: int = 0  # rows left out because of max_length
    dropped_untrained: int = 0  # rows without a trained token

    @property
    def counts(self) -> dict[str, int]:
        """The counts by name: rows, tokens, trained tokens, rows too long, rows left out."""
        return {
            "rows": len(self.ids),
            "tokens": sum(t.total for t in self.tokens),
            "trained_tokens": sum(t.trained for t in self.tokens),
            "truncated": self.truncated,
            "dropped_long": self.dropped_long,
            "dropped_untrained": self.dropped_untrained,
        }


def selected_rows(selection: pl.DataFrame) -> ChatRows:
    """Take the conversations of a selection, best row first.

    Input columns: instruction_id, messages.

    Raises:
        DatasetError: the selection has no texts.
    """
    if selection["messages"].null_count():
        raise DatasetError(
            "training: the selection has no answers to train on: the data set lacks texts; give "
            "one with instructions and answers, or set training.train_file"
        )
    ids = [str(i) for i in selection["instruction_id"].to_list()]
    return ChatRows(ids, selection["messages"].to_list())


def file_rows(path: str) -> ChatRows:
    """Read conversations of a JSON Lines file; the id of one is the number of its line.

    Raises:
        ConfigError: the file cannot be read.
        DatasetError: a line is no conversation.
    """
    ids, found = [], []
    for number, line in lines_of(path):
        try:
            found.append(conversation(json.loads(line)["messages"]))
        except (ValueError, KeyError, TypeError, RecursionError):
            raise DatasetError(
                f"training.train_file {path!r}, line {number}: expected "
                '{"messages": [{"role": "user", "content": "..."}, ...]} with the roles system, '
                "user, assistant"
            ) from None
        ids.append(f"line {number}")
    return ChatRows(ids, found)


def lines_of(path: str) -> list[tuple[int, str]]:
    """Return the lines of a JSON Lines file that are not blank, with their numbers from 1.

    Raises:
        ConfigError: the file cannot be read.
    """
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as e:
        kind = e.strerror if isinstance(e, OSError) else "it is not UTF-8"
        raise ConfigError(f"training.train_file {path!r} cannot be read: {kind}") from None
    return [(n, line) for n, line in enumerate(text.split("\n"), start=1) if line.strip()]


def conversation(messages: Any) -> list[dict[str, str]]:
    """Return the turns of a conversation with their roles and texts alone.

    Raises:
        ValueError: a role is unknown.
        KeyError: a turn has no role or no content.
        TypeError: a content is no text, or it is no list.
    """
    return [{"role": _role(m["role"]), "content": _text(m["content"])} for m in messages]


def _role(value: Any) -> str:
    if value not in ROLES:
        raise ValueError
    return str(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def training_rows(rows: ChatRows, turns: ChatTurns, config: TrainingConfig) -> TrainingRows[Tokens]:
    """Tokenise conversations; what is too long is cut or left out, and counted.

    Raises:
        DatasetError: fewer than two rows are left.
        ConfigError: the chat template does not fit.
    """
    made = TrainingRows[Tokens]()
    for row_id, messages in zip(rows.ids, rows.messages, strict=True):
        tokens = turns.tokens(messages)
        if len(tokens.input_ids) > config.max_length:
            if config.overflow == "drop":
                made.dropped_long += 1
                continue
            tokens = tokens.cut(config.max_length)
            made.truncated += 1
        if not tokens.trained:
            made.dropped_untrained += 1
            continue
        made.ids.append(row_id)
        made.tokens.append(tokens)
    if len(made.ids) < 2:
        raise too_few(made, len(rows.ids), config, "rows", "without an answer")
    return made


def too_few(
    made: TrainingRows[Any], given: int, config: TrainingConfig, what: str, fault: str
) -> DatasetError:
    """Return the error that less than two rows can be trained."""
    return DatasetError(
        f"training: {len(made.ids)} of {given} {what} can be trained, at least 2 are needed "
        f"({made.dropped_long} too long, {made.dropped_untrained} {fault} within max_length "
        f"{config.max_length}): raise the budget or max_length"
    )
