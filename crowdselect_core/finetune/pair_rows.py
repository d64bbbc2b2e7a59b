"""Preference pairs of a training: the selection's or a file's, tokenised and counted."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import polars as pl

from crowdselect_core.config.finetune import TrainingConfig
from crowdselect_core.errors import DatasetError
from crowdselect_core.finetune.chat_turns import ChatTurns, Messages
from crowdselect_core.finetune.rows import TrainingRows, conversation, lines_of, too_few
from crowdselect_core.store.identity import canonical

EXPECTED = (
    '{"prompt": ..., "chosen": ..., "rejected": ...}: prompt a text or messages up to the last '
    "user turn, chosen and rejected a text or messages that end in one assistant turn"
)


@dataclass(frozen=True)
class PairRows:
    """Preference pairs in the order of the selection, with their ids."""

    ids: Sequence[str]
    prompts: Sequence[Messages]
    chosen: Sequence[str]
    rejected: Sequence[str]

    @property
    def sha256(self) -> str:
        """sha256 of all pairs in order, in hex; ids do not count."""
        hashed = sha256()
        for prompt, chosen, rejected in zip(self.prompts, self.chosen, self.rejected, strict=True):
            told = [[m["role"], m["content"]] for m in prompt]
            hashed.update(canonical([told, chosen, rejected]) + b"\n")
        return hashed.hexdigest()


@dataclass(frozen=True)
class PairTokens:
    """A pair as a trainer takes it: the tokens of the prompt and of both answers.

    An answer ends with its end of turn, once; what the template writes after it is left out.
    """

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]

    @property
    def total(self) -> int:
        """Tokens that are computed: the prompt stands before both answers."""
        return 2 * len(self.prompt) + self.trained

    @property
    def longest(self) -> int:
        """Tokens of the longer sequence."""
        return len(self.prompt) + max(len(self.chosen), len(self.rejected))

    @property
    def trained(self) -> int:
        """Tokens that are trained: those of both answers."""
        return len(self.chosen) + len(self.rejected)

    def cut(self, most: int) -> "PairTokens":
        """Return both sequences cut at `most` tokens."""
        room = max(0, most - len(self.prompt))
        return PairTokens(self.prompt[:most], self.chosen[:room], self.rejected[:room])


def selected_pairs(pairs: pl.DataFrame) -> PairRows:
    """Take the preference pairs of a selection, best row first.

    Input columns: instruction_id, prompt, chosen, rejected; messages, the whole prompt, where one
    has more than one turn.
    """
    prompts = [
        row["messages"] if row.get("messages") else _user(row["prompt"])
        for row in pairs.iter_rows(named=True)
    ]
    ids = [str(i) for i in pairs["instruction_id"].to_list()]
    return PairRows(ids, prompts, pairs["chosen"].to_list(), pairs["rejected"].to_list())


def file_pairs(path: str) -> PairRows:
    """Read preference pairs of a JSON Lines file as TRL has them, or of our pairs.jsonl.

    A prompt that is a text is one user turn. Without a prompt, the turns that chosen and rejected
    share are the prompt. The id of a pair is the number of its line.

    Raises:
        ConfigError: the file cannot be read.
        DatasetError: a line is no pair.
    """
    ids, found = [], []
    for number, line in lines_of(path):
        try:
            found.append(_pair(json.loads(line)))
        except (ValueError, KeyError, TypeError, IndexError, RecursionError):
            raise DatasetError(
                f"training.train_file {path!r}, line {number}: expected {EXPECTED}"
            ) from None
        ids.append(f"line {number}")
    return PairRows(
        ids, [p for p, _, _ in found], [c for _, c, _ in found], [r for _, _, r in found]
    )


def _pair(row: Mapping[str, Any]) -> tuple[Messages, str, str]:
    chosen, rejected = (_turns(row[name]) for name in ("chosen", "rejected"))
    shared, other = chosen[:-1], rejected[:-1]
    if [chosen[-1]["role"], rejected[-1]["role"]] != ["assistant"] * 2 or shared != other:
        raise ValueError
    if row.get("messages"):  # of our pairs.jsonl: the whole prompt
        prompt = conversation(row["messages"])
    elif shared and not isinstance(row.get("prompt"), list):
        prompt = []  # a text beside whole conversations only repeats their first turn
    else:
        given = row["prompt"]
        prompt = _user(given) if isinstance(given, str) else conversation(given)
    whole = [*prompt, *shared]
    if not whole or whole[-1]["role"] != "user":
        raise ValueError
    return whole, chosen[-1]["content"], rejected[-1]["content"]


def _turns(value: Any) -> list[dict[str, str]]:
    if isinstance(value, str):
        return [{"role": "assistant", "content": value}]
    return conversation(value)


def _user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def training_pairs(
    rows: PairRows, turns: ChatTurns, config: TrainingConfig
) -> TrainingRows[PairTokens]:
    """Tokenise pairs; what is too long is cut or left out, and counted.

    A pair is left out where the cut leaves an answer empty, or both answers the same.

    Raises:
        DatasetError: fewer than two pairs are left.
        ConfigError: the chat template does not fit.
    """
    made = TrainingRows[PairTokens]()
    for number, row_id in enumerate(rows.ids):
        prompt = rows.prompts[number]
        start, chosen = turns.answer(prompt, rows.chosen[number])
        tokens = PairTokens(start, chosen, turns.answer(prompt, rows.rejected[number])[1])
        if tokens.longest > config.max_length:
            if config.overflow == "drop":
                made.dropped_long += 1
                continue
            tokens = tokens.cut(config.max_length)
            made.truncated += 1
        if not tokens.chosen or not tokens.rejected or tokens.chosen == tokens.rejected:
            made.dropped_untrained += 1
            continue
        made.ids.append(row_id)
        made.tokens.append(tokens)
    if len(made.ids) < 2:
        raise too_few(made, len(rows.ids), config, "pairs", "without two answers that differ")
    return made
