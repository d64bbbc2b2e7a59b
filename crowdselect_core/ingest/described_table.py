"""The table of a data set: its reader, what its columns mean, and how it is cut into partitions."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from crowdselect_core.config.crowd import CrowdModel
from crowdselect_core.config.dataset import DatasetConfig
from crowdselect_core.errors import DatasetError
from crowdselect_core.ingest.column_layout import (
    ID_NAMES,
    ColumnLayout,
    find_layout,
    has_answers,
)
from crowdselect_core.ingest.long_texts import LongZoo
from crowdselect_core.ingest.memory import MemoryReader
from crowdselect_core.ingest.prompt_columns import PromptColumns, find_prompt, listed
from crowdselect_core.ingest.reader import Leaf, Partition, Reader, limited
from crowdselect_core.ingest.tables import table_of

PEEK_ROWS = 1024


@dataclass
class DescribedTable:
    """A table of instructions, and which of its columns are prompts, answers and scores.

    Args:
        reader: the container; a long table of scores is pivoted when it is first needed.
        config: where it is and what its columns are called.
        crowd: in name order.
        reward_models: names, in order.
        limit: only the first rows.
        student: the model that is to be trained, where there is one.
    """

    reader: Reader
    config: DatasetConfig
    crowd: Sequence[CrowdModel]
    reward_models: Sequence[str]
    limit: int | None = None
    student: CrowdModel | None = None

    @property
    def everyone(self) -> list[CrowdModel]:
        """The crowd and the student in name order."""
        more = [self.student] if self.student else []
        return sorted([*self.crowd, *more], key=lambda m: m.name)

    @property
    def is_unanswered(self) -> bool:
        """Whether ids follow from the prompts, and no column of answers or scores is asked for."""
        return not self.everyone and self.layout.instruction_id is None

    def fingerprint(self) -> str:
        """Hash of the content; no path and no format that is found by itself counts."""
        return self.reader.fingerprint()

    @cached_property
    def table(self) -> Reader:
        """The container with one row per instruction."""
        return table_of(self.reader, self.config, self.everyone, self.reward_models)

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns of `table`, without ids that are null throughout: those are none."""
        schema = self.table.schema()
        named = self.config.columns.get("instruction_id")
        for name in (named,) if named else ID_NAMES:
            if name in schema.names and self._is_null(Leaf(name)):
                schema = schema.remove(schema.get_field_index(name))
        return schema

    def _is_null(self, leaf: Leaf) -> bool:
        """Tell a column without any value; reading ends at the first one."""
        parts = self.table.partitions(PEEK_ROWS)
        return all(
            batch.arrays[leaf].null_count == batch.rows
            for part in (*limited(parts[:1], PEEK_ROWS), *parts)  # a few rows mostly tell
            for batch in self.table.read(part, [leaf])
        )

    def columns(self) -> list[str]:
        """The names of the columns; of a long table of scores, the id and its models."""
        return list(self.table.schema().names)

    def has_answers(self, model: str) -> bool:
        """Tell whether a model has a column of answers here."""
        return has_answers(self.table.schema(), model, self.config.columns)

    def prompt_identity(self) -> dict[str, str]:
        """The columns of the prompts by their part; empty for one column of texts, or none."""
        if isinstance(self.table, MemoryReader) and self.table is not self.reader:
            return {}  # a long table of scores
        found = self.layout.prompt if isinstance(self.table, LongZoo) else self._prompt_columns()
        columns = found.identity if found and not found.is_plain else {}
        return columns | ({"texts": self.table.text} if isinstance(self.table, LongZoo) else {})

    def _prompt_columns(self) -> PromptColumns | None:
        return find_prompt(self.table.schema(), self.config, self.peek)

    def peek(self, column: str) -> list[Any]:
        """Return the first values of a column that are not null."""
        for part in self.table.partitions(PEEK_ROWS):
            for batch in self.table.read(part, [Leaf(column)]):
                if found := [v for v in listed(batch.arrays[Leaf(column)]) if v is not None]:
                    return found
        return []

    @cached_property
    def layout(self) -> ColumnLayout:
        """What the columns mean, checked."""
        config = self.config
        columns = dict(config.columns)
        if config.format == "scores-long":
            config = config.model_copy(update={"format": "auto"})
        if isinstance(self.table, MemoryReader | LongZoo) and self.table is not self.reader:
            columns.pop("instruction_id", None)  # the pivot has given these our own names
            columns.pop("content", None)
            if isinstance(self.table, MemoryReader):
                columns.clear()
        if columns.get("instruction_id") not in (None, *self.schema.names) and (
            columns["instruction_id"] in self.table.schema().names
        ):
            del columns["instruction_id"]  # null throughout
        config = config.model_copy(update={"columns": columns})
        return find_layout(self.schema, config, self.everyone, self.reward_models, self.peek)

    def prompt_line(self) -> str:
        """Say in one line what a prompt is made of."""
        prompt = self.layout.prompt
        return prompt.described if prompt else "none, the data set has ids and scores alone"

    def partitions(self, rows: int) -> list[Partition]:
        """Cut the rows within the limit into partitions of about `rows` rows."""
        parts = limited(self.table.partitions(rows), self.limit)
        if not parts:
            raise DatasetError(f"{self.config.path}: has no rows; expected one per instruction")
        return parts
