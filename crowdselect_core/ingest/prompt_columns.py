"""Which columns hold a data set's prompts, and the prompts and texts of a batch of rows."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa

from crowdselect_core.config.dataset import DatasetConfig
from crowdselect_core.errors import DatasetError, nearest, shown
from crowdselect_core.ingest import values
from crowdselect_core.ingest.columns import expect, is_text, named, told
from crowdselect_core.ingest.prompts import ROLES, Prompt, content_id, read_text, read_turns
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
            return _listed(arrays[self.leaves[0]])
        prompts = self.prompts(arrays)
        if not self._shown:
            return [None if p.error else p.text for p in prompts]
        texts = _listed(arrays[self._shown[0]])
        return [None if p.error else t for p, t in zip(prompts, texts, strict=True)]

    @property
    def _shown(self) -> list[Leaf]:
        return values.some(self.text) if self.turns is not None else []

    def _prompt(self, row: Sequence[Any]) -> Prompt:
        found = dict(zip(self.leaves, row, strict=True))
        system = found[self.system] if self.system else None
        if self.turns is not None:
            return read_turns(found[self.turns], system)
        text = found[self.text] if self.text else None
        return read_text(text, found[self.input] if self.input else None, system)

    def _rows(self, arrays: Mapping[Leaf, pa.Array]) -> Iterator[tuple[Any, ...]]:
        return zip(*(_listed(arrays[leaf]) for leaf in self.leaves), strict=True)


def _listed(array: pa.Array) -> list[Any]:
    """Return the values; those that JSON Lines keep as JSON are parsed."""
    found: list[Any] = array.to_pylist()
    return [json.loads(v) if isinstance(v, bytes) else v for v in found]


def find_prompt(schema: pa.Schema, config: DatasetConfig) -> PromptColumns | None:
    """Find the columns of the prompts: turns before texts; None where there are neither.

    Raises:
        DatasetError: a column that the format needs or the config names is not there, or one is
            of a wrong type.
    """
    wanted, where = config.format, config.path
    text = None if wanted in TURN_COLUMNS else named(
        schema, config, "instruction", INSTRUCTION_NAMES
    )  # fmt: skip
    turns = None if wanted in TEXT_LAYOUTS else _turns(schema, config, text)
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
    if "system" not in config.columns and system and not _has_text(schema, system):
        system = None
    expect(schema, system, where, "text", is_text)
    return PromptColumns(text, turns, more, system)


_SHAREGPT = (TURN_COLUMNS["sharegpt"],)


def _turns(schema: pa.Schema, config: DatasetConfig, text: Leaf | None) -> Leaf | None:
    """Find the turns; by itself, a column beside a text only counts if it can hold turns."""
    asked = TURN_COLUMNS.get(config.format)
    for ours in (asked,) if asked else TURN_COLUMNS.values():
        leaf = named(schema, config, ours, (ours,))
        if leaf is None:
            continue
        field = schema.field(leaf.column)
        if is_turns(field):
            return leaf
        if asked is None and ours not in config.columns and text is not None:
            continue
        if pa.types.is_null(field.type):
            return leaf
        raise DatasetError(
            f"{config.path}: column {leaf.column!r} {told(field)}, expected lists of turns, each "
            "{role, content} or {from, value} with texts; mend it, or name another column"
        )
    return None


def _input(schema: pa.Schema, config: DatasetConfig) -> Leaf | None:
    """Find Alpaca's input; by itself, a column of that name counts if it holds texts."""
    if config.format not in ("auto", "alpaca") and "input" not in config.columns:
        return None
    leaf = named(schema, config, "input", ("input",))
    if leaf and config.format == "auto" and "input" not in config.columns:
        return leaf if _has_text(schema, leaf) else None
    expect(schema, leaf, config.path, "text", is_text)
    return leaf


def _has_text(schema: pa.Schema, leaf: Leaf) -> bool:
    return is_text(schema.field(leaf.column).type)


def is_turns(field: pa.Field) -> bool:
    """Tell a column that can hold turns: lists of structs of texts, or lists kept as JSON."""
    kind, types = field.type, pa.types
    if (field.metadata or {}).get(b"lists"):
        return True
    if not (types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)):
        return False
    turn = kind.value_type
    fields = {f.name: f.type for f in turn} if types.is_struct(turn) else {}
    return any(all(name in fields and is_text(fields[name]) for name in keys) for keys in ROLES)
