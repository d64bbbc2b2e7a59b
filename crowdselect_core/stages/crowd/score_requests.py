"""The answers of one crowd model, with the keys of their scores by one reward model."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import polars as pl

from crowdselect_core.config.reward import FunctionReward, RewardConfig
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.ingest.dataset import Dataset
from crowdselect_core.reward.base import Item
from crowdselect_core.reward.score_cells import cells_of
from crowdselect_core.stages.crowd.answer_texts import Answered, Texts
from crowdselect_core.stages.crowd.dataset_answers import given_columns
from crowdselect_core.stages.crowd.prompts import prompts_of
from crowdselect_core.stages.partitions import open_dataset
from crowdselect_core.stages.shards import AlignedReader
from crowdselect_core.store.artifacts import Artifact, Store
from crowdselect_core.store.cache.key_index import (
    as_bytes,
    as_keys,
    as_sorted,
    cell_key,
    column_keys,
)
from crowdselect_core.store.cache.work_sharing import Sharing
from crowdselect_core.store.identity import canonical

READ_ROWS = 16_384  # answers that are read and handed to a scorer at once


class Scorings:
    """The answers of one crowd model, or of one shard of its table, with the keys of their scores.

    Args:
        config: of the given data set.
        store: where tables and cells are.
        reward: who scores.
        answered: whose answers.
        reference: pairwise judges: whose answers these are held against.
        only: the shard; None for all.
    """

    def __init__(
        self,
        config: SelectConfig,
        store: Store,
        reward: RewardConfig,
        answered: Answered,
        reference: Answered | None,
        only: int | None = None,
    ) -> None:
        self._only = only
        self.dataset: Dataset = open_dataset(config)
        self.reward, self.answered, self.reference = reward, answered, reference
        self.cells = cells_of(store, reward)
        self._texts = Texts(store, self.dataset, answered)
        self._other = Texts(store, self.dataset, reference) if reference else None
        self._aligned = AlignedReader(reference.responses.open(store)) if reference else None
        self._responses: Artifact = answered.responses.open(store)

    def count(self) -> tuple[int, int]:
        """Count the answers that lack a score, and those that have one."""
        self.cells.refresh()
        keys = [column_keys(frame["score"]) for _, frame in self.tables()]
        first, last, _ = as_sorted(np.concatenate([as_keys([]), *keys]))
        new = np.ones(len(first), dtype=bool)
        new[1:] = (first[1:] != first[:-1]) | (last[1:] != last[:-1])
        wanted = int((self.cells.missing_halves(first, last) & new).sum())
        return wanted, int(new.sum()) - wanted

    def tables(self) -> Iterator[tuple[int, pl.DataFrame]]:
        """Yield (shard, its rows that have an answer to score), with the key of the score."""
        every = range(len(self._responses.manifest.shards))
        for index in every if self._only is None else [self._only]:
            yield (
                index,
                self.keyed(self._responses.shard(index)).filter(pl.col("score").is_not_null()),
            )

    def keyed(self, table: pl.DataFrame) -> pl.DataFrame:
        """Add to a shard of responses the column `score`: the key, null where nothing is scored."""
        extras = self._extras(table)
        references = self._references(table)
        keys = [
            cell_key(prompt, content, *more, *held)
            if prompt is not None and content is not None and (length or 0) > 0
            else None
            for prompt, content, length, more, held in zip(
                table["prompt"].to_list(), table["content"].to_list(),
                table["characters"].to_list(), extras, references, strict=True,
            )
        ]  # fmt: skip
        return table.with_columns(pl.Series("score", keys, dtype=pl.Binary))

    def items(self, sharing: Sharing, seconds: Callable[[], float]) -> Iterator[Item]:
        """Yield the answers without a score, each text once; other processes have their share.

        Args:
            sharing: entered, where it is to be.
            seconds: how long a score takes at the most, as far as has been seen.
        """
        asked: set[bytes] = set()

        def lacking() -> bool:
            self.cells.refresh()
            for _, whole in self.tables():
                keys = as_keys(whole["score"].to_list())
                if any(key not in asked for key in as_bytes(keys[self.cells.missing(keys)])):
                    return True
            return False

        for mine in sharing.rounds(lacking, seconds):
            for _, whole in self.tables():
                self.cells.refresh()
                left = whole.filter(self.cells.missing(as_keys(whole["score"].to_list())))
                ours = pl.Series(map(mine, left["score"].to_list()), dtype=pl.Boolean)
                left = left.filter(ours)
                for start in range(0, left.height, READ_ROWS):
                    yield from self._items(left[start : start + READ_ROWS], mine, asked)

    def _items(
        self, rows: pl.DataFrame, mine: Callable[[bytes], bool], asked: set[bytes]
    ) -> Iterator[Item]:
        texts = self._texts.of(rows)
        others = self._held_against(rows)
        columns = self._columns(rows)
        for place, prompt in prompts_of(self.dataset, rows):
            key, text = rows["score"][place], texts[place]
            if text is None or key in asked or not mine(key):
                continue
            asked.add(key)
            extra = {name: values[place] for name, values in columns.items()}
            yield Item(key, prompt.messages, text, extra, others[place])

    def _columns(self, rows: pl.DataFrame) -> Mapping[str, list[Any]]:
        if not isinstance(self.reward, FunctionReward) or not self.reward.columns:
            return {}
        return given_columns(self.dataset, rows, self.reward.columns)

    def _extras(self, table: pl.DataFrame) -> list[tuple[bytes, ...]]:
        columns = self._columns(table)
        if not columns:
            return [()] * table.height
        rows = zip(*columns.values(), strict=True)
        return [(canonical([repr(v) for v in row]),) for row in rows]

    def _references(self, table: pl.DataFrame) -> list[tuple[bytes, ...]]:
        if self._aligned is None:
            return [()] * table.height
        found: list[tuple[bytes, ...]] = [(b"",)] * table.height
        rows = _reference_rows(self._aligned, table)
        for place, content in rows.select("place", "content").iter_rows():
            found[place] = (content or b"",)
        return found

    def _held_against(self, table: pl.DataFrame) -> list[str | None]:
        """Return the reference model's first answer to every row."""
        if self._aligned is None or self._other is None:
            return [None] * table.height
        rows = _reference_rows(self._aligned, table)
        texts = self._other.of(rows)
        found: list[str | None] = [None] * table.height
        for place, text in zip(rows["place"].to_list(), texts, strict=True):
            found[place] = text
        return found


def _reference_rows(reference: AlignedReader, table: pl.DataFrame) -> pl.DataFrame:
    """Return the reference model's first answer to every row, with the row's place."""
    places = table.select("instruction_id", pl.int_range(pl.len()).alias("place"))
    firsts = reference.of(table).filter(pl.col("sample") == 0)
    return firsts.join(places, on="instruction_id").sort("source_row", "place")
