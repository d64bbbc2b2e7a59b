"""A data set that is open: a table whose columns have a meaning, and the passes the stages make.

Every pass yields numpy or polars per partition; only what a pass needs is read.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from crowdselect_core.errors import DatasetError, nearest, shown
from crowdselect_core.ingest import values
from crowdselect_core.ingest.described_table import DescribedTable
from crowdselect_core.ingest.prompt_columns import PromptColumns
from crowdselect_core.ingest.prompts import Prompt
from crowdselect_core.ingest.reader import Batch, Leaf, Partition
from crowdselect_core.ingest.stored_zoo import is_artifact


@dataclass(frozen=True)
class Rows:
    """The identity of consecutive rows: ids, and where the rows came from."""

    first_row: int
    source: str
    ids: pl.Series


@dataclass
class Dataset(DescribedTable):
    """A data set with its crowd, the student beside it, and reward models."""

    _widths: dict[str, int] = field(default_factory=dict)  # of vector columns, first seen

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
