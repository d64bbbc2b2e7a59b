"""A data set that is open: its reader, what its columns mean, and the passes the stages make.

Every pass yields numpy or polars per partition; only what a pass needs is read.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from crowdselect_core.config.crowd import CrowdModel
from crowdselect_core.config.dataset import DatasetConfig
from crowdselect_core.errors import DatasetError, nearest, shown
from crowdselect_core.ingest import values
from crowdselect_core.ingest.column_layout import (
    ID_NAMES,
    ColumnLayout,
    find_layout,
    has_answers,
)
from crowdselect_core.ingest.long_texts import LongZoo
from crowdselect_core.ingest.memory import MemoryReader
from crowdselect_core.ingest.prompt_columns import PromptColumns, find_prompt, listed
from crowdselect_core.ingest.prompts import Prompt
from crowdselect_core.ingest.reader import Batch, Leaf, Partition, Reader, limited
from crowdselect_core.ingest.stored_zoo import is_artifact
from crowdselect_core.ingest.tables import table_of

PEEK_ROWS = 1024


@dataclass(frozen=True)
class Rows:
    """The identity of consecutive rows: ids, and where the rows came from."""

    first_row: int
    source: str
    ids: pl.Series


@dataclass
class Dataset:
    """A data set with its crowd, the student beside it, and reward models.

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
    _widths: dict[str, int] = field(default_factory=dict)  # of vector columns, first seen

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
        content = self.config.columns.get("content", "content")
        return has_answers(self.table.schema(), model, content)

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
        return prompt.described if prompt else "prompt: none, the data set has ids and scores alone"

    def partitions(self, rows: int) -> list[Partition]:
        """Cut the rows within the limit into partitions of about `rows` rows."""
        parts = limited(self.table.partitions(rows), self.limit)
        if not parts:
            raise DatasetError(f"{self.config.path}: has no rows; expected one per instruction")
        return parts

    def rows(self, partition: Partition) -> Iterator[Rows]:
        """Yield the ids of a partition: the given ones, or hashes of the prompts."""
        layout = self.layout
        prompt = layout.prompt or PromptColumns()
        leaves = values.some(layout.instruction_id) or prompt.leaves
        source = self.table.source(partition.file)
        name = source.rsplit("/", 1)[-1]  # no path: the same data elsewhere is the same artifact
        for batch in self.table.read(partition, leaves):
            if layout.instruction_id is not None:
                array = batch.arrays[layout.instruction_id]
                ids = values.given_ids(array, batch.first_row, self.table.place)
            else:
                ids = prompt.ids(batch.arrays)
            yield Rows(batch.first_row, name, ids.alias("instruction_id"))

    def scores(
        self, partition: Partition
    ) -> Iterator[tuple[Batch, dict[str, NDArray[np.float64]]]]:
        """Yield, per reward model, scores_NM with everyone in name order; NaN where missing."""
        layout, everyone = self.layout, self.everyone
        for batch in self.table.read(partition, list(layout.scores.values())):
            found = {}
            for reward_model in self.reward_models:
                scores_NM = np.full((batch.rows, len(everyone)), np.nan)
                for m, model in enumerate(everyone):
                    leaf = layout.scores.get((reward_model, model.name))
                    if leaf is not None:
                        scores_NM[:, m] = values.numbers(batch.arrays[leaf])
                found[reward_model] = scores_NM
            yield batch, found

    def score_columns(self, partition: Partition) -> dict[tuple[str, str], pl.Series]:
        """Return, per (reward model, model) of everyone, a partition's scores; null if missing."""
        leaves = self.layout.scores
        pairs = [(reward, model.name) for reward in self.reward_models for model in self.everyone]
        found: dict[tuple[str, str], list[pl.Series]] = {pair: [] for pair in pairs}
        for batch in self.table.read(partition, list(leaves.values())):
            for pair, leaf in leaves.items():
                found[pair].append(values.number_column(batch.arrays[leaf]))
        nothing = pl.repeat(None, partition.rows, dtype=pl.Float64, eager=True)
        return {p: pl.concat(c, rechunk=True) if c else nothing for p, c in found.items()}

    def shown_scores(self, partition: Partition) -> dict[tuple[str, str], NDArray[np.float64]]:
        """Return, per (reward model, model) with several samples, the scores of those shown."""
        single = self.layout.shown
        if not single:
            return {}
        batches = list(self.table.read(partition, list(single.values())))
        return {
            pair: np.concatenate([values.numbers(batch.arrays[leaf]) for batch in batches])
            for pair, leaf in single.items()
        }

    def instructions(self, partition: Partition) -> Iterator[tuple[int, list[str]]]:
        """Yield (first row, instruction texts), of conversations their user turns.

        A null text is '', and so is the text of a row whose turns are no usable prompt.

        Raises:
            DatasetError: the data set has no instructions.
        """
        prompt = self._prompt()
        for batch in self.table.read(partition, prompt.text_leaves):
            yield batch.first_row, [t or "" for t in prompt.texts(batch.arrays)]

    def refusals(self, partition: Partition) -> Iterator[tuple[int, list[str | None]]]:
        """Yield (first row, why rows have no usable prompt); null where they have one."""
        prompt = self._prompt()
        for batch in self.table.read(partition, prompt.text_leaves):
            yield batch.first_row, prompt.refusals(batch.arrays)

    def prompts(self, partition: Partition) -> Iterator[tuple[int, list[Prompt]]]:
        """Yield (first row, prompts); a row without a usable one says why.

        Raises:
            DatasetError: the data set has no instructions.
        """
        prompt = self._prompt()
        for batch in self.table.read(partition, prompt.leaves):
            yield batch.first_row, prompt.prompts(batch.arrays)

    def prompts_at(
        self, partition: Partition, rows: NDArray[np.int64]
    ) -> dict[int, tuple[str | None, Prompt]]:
        """Return the instruction text and the prompt of some rows of a partition, by row."""
        prompt = self._prompt()
        found: dict[int, tuple[str | None, Prompt]] = {}
        for batch in self.table.read(partition, prompt.text_leaves):
            here = rows[(rows >= batch.first_row) & (rows < batch.first_row + batch.rows)]
            places = _whole_numbers(here - batch.first_row)
            arrays = {leaf: array.take(places) for leaf, array in batch.arrays.items()}
            pairs = zip(prompt.texts(arrays), prompt.prompts(arrays), strict=True)
            found.update(zip(here.tolist(), pairs, strict=True))
        return found

    def _prompt(self) -> PromptColumns:
        prompt = self.layout.prompt
        if prompt is None:
            raise DatasetError(
                f"{self.config.path}: has no instruction texts to embed; pass --clusters 0, or "
                "--embedder column:NAME for vectors that it has"
            )
        return prompt

    def vectors(
        self, partition: Partition, column: str
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield (first row, vectors_ND) of a column of vectors.

        Raises:
            DatasetError: no such column, not vectors, a null, or vectors of different widths.
        """
        schema = self.table.schema()
        if column not in schema.names:
            raise DatasetError(
                f"{self.config.path}: has no vector column {column!r}"
                f"{nearest(column, schema.names)} (found: {shown(schema.names)})"
            )
        leaf, where = Leaf(column), f"{self.config.path}: column {column!r}"
        for batch in self.table.read(partition, [leaf]):
            found = values.vectors(batch.arrays[leaf], where)
            if found.shape[1] != self._widths.setdefault(column, found.shape[1]):
                raise DatasetError(
                    f"{where} has vectors of the lengths {self._widths[column]}, "
                    f"{found.shape[1]}; expected one length"
                )
            yield batch.first_row, found

    def complete(
        self, partition: Partition, model: str, unknown: Counter[str] | None = None
    ) -> NDArray[np.bool_]:
        """Tell which rows of a partition have a complete answer of a model.

        Complete is not empty (white space apart) and not known to be cut off by a length limit, to
        have failed or to have been withheld.

        Args:
            partition: which rows.
            model: whose answers.
            unknown: counts the finish reasons that nobody knows, as they came. It is the caller's:
                threads that read partitions of one data set must not share it.
        """
        endings = Counter[str]() if unknown is None else unknown
        answer, end = self.layout.answers.get(model), self.layout.finish_reasons.get(model)
        if answer is None:
            return np.zeros(partition.rows, dtype=bool)
        leaves = values.some(answer, end)
        return np.concatenate(
            [
                values.complete(b.arrays, answer, end, endings, own_thinking=self.may_hold_thinking)
                for b in self.table.read(partition, leaves)
            ]
        )

    def complete_bytes(self, partition: Partition, model: str) -> NDArray[np.int64]:
        """Return the UTF-8 bytes of a model's complete answers (see `complete`), -1 of the others.

        Args:
            partition: which rows.
            model: whose answers.
        """
        answer, end = self.layout.answers.get(model), self.layout.finish_reasons.get(model)
        if answer is None:
            return np.full(partition.rows, -1, dtype=np.int64)
        leaves = values.some(answer, end)
        own = self.may_hold_thinking
        batches = self.table.read(partition, leaves)
        return np.concatenate(
            [values.complete_bytes(b.arrays, answer, end, own_thinking=own) for b in batches]
        )

    @property
    def may_hold_thinking(self) -> bool:
        """Whether answers may begin with thinking; a zoo of a store has it split off already."""
        return not is_artifact(self.config.path)

    def answer(self, text: str | None) -> str | None:
        """Return what a model answered: a text of a column of answers without its thinking."""
        return values.without_thinking(text) if self.may_hold_thinking else text

    def texts(
        self, partition: Partition, wanted: Mapping[Leaf, NDArray[np.int64]]
    ) -> dict[tuple[int, Leaf], str | None]:
        """Return the texts of some rows, by (row, leaf); only these columns are read."""
        found: dict[tuple[int, Leaf], str | None] = {}
        for batch in self.table.read(partition, list(wanted)):
            for leaf, rows in wanted.items():
                here = rows[(rows >= batch.first_row) & (rows < batch.first_row + batch.rows)]
                texts = batch.arrays[leaf].take(_whole_numbers(here - batch.first_row)).to_pylist()
                found.update({(int(r), leaf): t for r, t in zip(here, texts, strict=True)})
        return found


def _whole_numbers(values: NDArray[np.int64]) -> pa.Array:
    """Return numbers as an arrow array; `pa.array` imports pandas, which takes half a second."""
    return pl.Series(values).to_arrow()
