"""Which columns hold a data set's prompts, and the prompts and texts of a batch of rows."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa

from crowdselect_core.config.dataset import DatasetConfig
from crowdselect_core.errors import DatasetError, nearest, shown
from crowdselect_core.ingest import values
from crowdselect_core.ingest.columns import expect, is_text, named, told
from crowdselect_core.ingest.json_columns import kinds_of
from crowdselect_core.ingest.prompts import (
    NO_INSTRUCTION,
    ROLES,
    Prompt,
    content_id,
    is_blank,
    read_text,
    read_turns,
    turns_of,
)
from crowdselect_core.ingest.reader import Leaf

INSTRUCTION_NAMES = ("instruction", "prompt")
TURN_COLUMNS = {"messages": "messages", "sharegpt": "conversations"}  # by the layout's name
TEXT_LAYOUTS = ("alpaca", "instruction")


@dataclass(frozen=True)
class PromptColumns:
    """The columns that prompts are read from; one of `text` and `turns` is there.

    `text` beside `turns` is what the instruction is shown and embedded as; the prompt is the turns.
    """

    text: Leaf | None = None
    turns: Leaf | None = None
    input: Leaf | None = None
    system: Leaf | None = None

    @property
    def leaves(self) -> list[Leaf]:
        """The columns that prompts need."""
        if self.turns is not None:
            return values.some(self.turns, self.system)
        return values.some(self.text, self.input, self.system)

    @property
    def text_leaves(self) -> list[Leaf]:
        """The columns that the texts of `texts` need."""
        return self.leaves if self.is_plain else list(dict.fromkeys([*self.leaves, *self._shown]))

    @property
    def is_plain(self) -> bool:
        """Whether one column of texts is all there is."""
        return self.turns is None and self.input is None and self.system is None

    @property
    def identity(self) -> dict[str, str]:
        """The columns by their part; what the content of ids and texts follows from."""
        return {name: leaf.column for name, leaf in vars(self).items() if leaf is not None}

    def prompts(self, arrays: Mapping[Leaf, pa.Array]) -> list[Prompt]:
        """Return the prompts of a batch that holds `leaves`."""
        return [self._prompt(row) for row in self._rows(arrays)]

    def ids(self, arrays: Mapping[Leaf, pa.Array]) -> pl.Series:
        """Return the ids that follow from the content, of a batch that holds `leaves`."""
        if self.is_plain:
            return values.content_ids(arrays[self.leaves[0]])
        ids = [content_id(self._prompt(row), row) for row in self._rows(arrays)]
        return pl.Series(ids, dtype=pl.String)

    def texts(self, arrays: Mapping[Leaf, pa.Array]) -> list[str | None]:
        """Return the texts of a batch that holds `text_leaves`; null without a usable prompt."""
        if self.is_plain:
            return listed(arrays[self.leaves[0]])
        prompts = self.prompts(arrays)
        if not self._shown:
            return [None if p.error else p.text for p in prompts]
        texts = listed(arrays[self._shown[0]])
        return [None if p.error else t for p, t in zip(prompts, texts, strict=True)]

    @property
    def _shown(self) -> list[Leaf]:
        return values.some(self.text) if self.turns is not None else []

    def refusals(self, arrays: Mapping[Leaf, pa.Array]) -> list[str | None]:
        """Return why rows of a batch that holds `text_leaves` are refused; null for the others."""
        if self.is_plain:
            return [read_text(t).error for t in listed(arrays[self.leaves[0]])]
        errors = [p.error for p in self.prompts(arrays)]
        if not self._shown:
            return errors
        texts = listed(arrays[self._shown[0]])
        empty = f"{NO_INSTRUCTION}: the row has no instruction text"
        return [e or (empty if is_blank(t) else None) for e, t in zip(errors, texts, strict=True)]

    @property
    def described(self) -> str:
        """One line on what a prompt is made of."""
        if self.turns is not None:
            made = f"the turns of `{self.turns.column}` up to the last answer"
        else:
            made = " + ".join(leaf.column for leaf in values.some(self.text, self.input))
        system = f", system from `{self.system.column}`" if self.system else ""
        return f"{made}{system}"

    def _prompt(self, row: Sequence[Any]) -> Prompt:
        found = dict(zip(self.leaves, row, strict=True))
        system = found[self.system] if self.system else None
        if self.turns is not None:
            return read_turns(found[self.turns], system)
        text = found[self.text] if self.text else None
        return read_text(text, found[self.input] if self.input else None, system)

    def _rows(self, arrays: Mapping[Leaf, pa.Array]) -> Iterator[tuple[Any, ...]]:
        return zip(*(listed(arrays[leaf]) for leaf in self.leaves), strict=True)


def listed(array: pa.Array) -> list[Any]:
    """Return the values; those that JSON Lines keep as JSON are parsed."""
    found: list[Any] = array.to_pylist()
    return [json.loads(v) if isinstance(v, bytes) else v for v in found]


Peek = Callable[[str], Sequence[Any]]  # returns the first values of a column


def no_values(column: str) -> Sequence[Any]:
    return ()


def find_prompt(
    schema: pa.Schema, config: DatasetConfig, peek: Peek = no_values
) -> PromptColumns | None:
    """Find the columns of the prompts: turns before texts; None where there are neither.

    Args:
        schema: of the data set.
        config: its format, and the names of its columns where they are unusual.
        peek: how to see values, which tells turns that are kept as JSON text.

    Raises:
        DatasetError: a column that the format needs or the config names is not there, or one is
            of a wrong type.
    """
    wanted, where = config.format, config.path
    text = None if wanted in TURN_COLUMNS else named(
        schema, config, "instruction", INSTRUCTION_NAMES
    )  # fmt: skip
    turns = None if wanted in TEXT_LAYOUTS else _turns(schema, config, text, peek)
    if text and _is_conversational(schema.field(text.column)):  # TRL's conversational prompt
        turns, text = turns or (text if wanted not in TEXT_LAYOUTS else None), None
    expect(schema, text, where, "text", is_text)
    if (wanted in TEXT_LAYOUTS and text is None) or (wanted in TURN_COLUMNS and turns is None):
        needed = TURN_COLUMNS.get(wanted, "instruction")
        raise DatasetError(
            f"{where}: the format {wanted} needs a column {needed!r}"
            f"{nearest(needed, schema.names)} (found: {shown(schema.names)}); name yours under "
            f"dataset.columns.{needed}"
        )
    if text is None and turns is None:
        return None
    more = _input(schema, config) if turns is None else None
    is_sharegpt = turns is not None and turns == named(schema, config, "conversations", _SHAREGPT)
    usual = ("system",) if more is not None or wanted == "alpaca" or is_sharegpt else ()
    system = named(schema, config, "system", usual)
    if system and not _has_text(schema, system):
        if "system" in config.columns:
            expect(schema, system, where, "text", is_text)
        else:
            system = None
    return PromptColumns(text, turns, more, system)


_SHAREGPT = (TURN_COLUMNS["sharegpt"],)


def _turns(schema: pa.Schema, config: DatasetConfig, text: Leaf | None, peek: Peek) -> Leaf | None:
    """Find the turns; by itself, a column beside a text only counts if it can hold turns."""
    asked = TURN_COLUMNS.get(config.format)
    for ours in (asked,) if asked else TURN_COLUMNS.values():
        leaf = named(schema, config, ours, (ours,))
        if leaf is None:
            continue
        field = schema.field(leaf.column)
        if is_turns(field) or _holds_json(field, leaf, peek):
            return leaf
        if asked is None and ours not in config.columns and text is not None:
            continue
        if pa.types.is_null(field.type):
            return leaf
        raise DatasetError(
            f"{config.path}: column {leaf.column!r} {told(field)}, expected lists of turns, each "
            "{role, content} or {from, value} with texts; correct it, or name another column"
        )
    return None


def _input(schema: pa.Schema, config: DatasetConfig) -> Leaf | None:
    """Find Alpaca's input; by itself, a column of that name counts if it holds texts."""
    if config.format not in ("auto", "alpaca") and "input" not in config.columns:
        return None
    leaf = named(schema, config, "input", ("input",))
    if leaf is None or _has_text(schema, leaf):
        return leaf
    if config.format == "auto" and "input" not in config.columns:
        return None
    expect(schema, leaf, config.path, "text", is_text)
    return leaf


def _has_text(schema: pa.Schema, leaf: Leaf) -> bool:
    """Tell a column that holds texts, in some rows at least: the others are refused one by one."""
    field = schema.field(leaf.column)
    return is_text(field.type) or "str" in kinds_of(field)


def _is_conversational(field: pa.Field) -> bool:
    """Tell a column of turns from one of texts; one with both is refused with its lines."""
    return is_turns(field) and "str" not in kinds_of(field)


def is_turns(field: pa.Field) -> bool:
    """Tell a column that can hold turns: lists of structs of texts, or lists kept as JSON."""
    kind = field.type
    if "tuple" in kinds_of(field):
        return True
    if not _is_list(kind):
        return False
    turn = kind.value_type
    fields = {f.name: f.type for f in turn} if pa.types.is_struct(turn) else {}
    return any(all(name in fields and _is_content(fields[name]) for name in keys) for keys in ROLES)


def _is_content(kind: pa.DataType) -> bool:
    """Tell texts, and lists of parts that hold texts."""
    if not _is_list(kind):
        return is_text(kind)
    part = kind.value_type
    return bool(pa.types.is_struct(part) and part.get_field_index("text") >= 0)


def _is_list(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _holds_json(field: pa.Field, leaf: Leaf, peek: Peek) -> bool:
    """Tell a column of texts that are turns as JSON, by the first that is there."""
    if not is_text(field.type):
        return False
    first = next((v for v in peek(leaf.column) if isinstance(v, str) and v.strip()), "")
    return first.lstrip().startswith("[") and isinstance(turns_of(first), list)
