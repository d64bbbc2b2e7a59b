"""The kept answers of some rows: whose they are, and the texts, read where they are."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.chat import Message
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.ingest.dataset import Dataset
from crowdselect_core.ingest.prompts import Prompt
from crowdselect_core.ingest.reader import Leaf, Partition
from crowdselect_core.ingest.values import is_complete
from crowdselect_core.selection.response_choice import Ints, keep, preference
from crowdselect_core.stages.partitions import open_dataset
from crowdselect_core.stages.refs import Ref
from crowdselect_core.stages.row_columns import Members, RowReader
from crowdselect_core.stages.select.answers import mode_of
from crowdselect_core.stages.select.metrics import shown_scores, stored_moments
from crowdselect_core.store.artifacts import Artifact, Store
from crowdselect_core.util.finish_reasons import normalise_finish_reason

Floats = NDArray[np.float64]

FINE_ROWS = 1024  # small partitions: only the row groups that hold a wanted row are read


@dataclass
class Answers:
    """The answers of the crowd to some rows of a data set.

    Args:
        dataset: where the texts are.
        partitions: of the whole data set.
        rows: instruction_id and source_row of the rows, in the order they are asked for.
        shown_NM: each answer's own combined score, the crowd in name order.
    """

    dataset: Dataset
    partitions: Sequence[Partition]
    rows: pl.DataFrame
    shown_NM: Floats

    @property
    def models(self) -> list[str]:
        """The crowd's names, in name order."""
        return [m.name for m in self.dataset.crowd]

    @property
    def ids(self) -> list[str]:
        """The rows' instruction ids."""
        return self.rows["instruction_id"].to_list()

    def complete(self, asked: Mapping[int, Ints]) -> dict[tuple[int, int], str | None]:
        """Return the complete answers among those asked for, by (place, model index)."""
        layout = self.dataset.layout
        leaves: dict[Leaf, Ints] = {}
        for model, places in asked.items():
            name = self.models[model]
            for leaf in (layout.answers.get(name), layout.finish_reasons.get(name)):
                if leaf is not None:
                    leaves[leaf] = places
        found = self._read(leaves)
        answers: dict[tuple[int, int], str | None] = {}
        for model, places in asked.items():
            text, end = (
                layout.answers.get(self.models[model]),
                layout.finish_reasons.get(self.models[model]),
            )
            for place in places.tolist():
                answer = self.dataset.answer(found.get((place, text))) if text else None
                ending = normalise_finish_reason(found.get((place, end)) if end else None)
                if answer is not None and answer.strip() and is_complete(ending):
                    answers[place, model] = answer
        return answers

    def instructions(self) -> list[str | None]:
        """Return the rows' instruction texts, null where the data set has none."""
        return [found[0] if found else None for found in self._prompts]

    def prompts(self) -> list[Prompt | None]:
        """Return the rows' prompts, null where the data set has none."""
        return [found[1] if found else None for found in self._prompts]

    @cached_property
    def _prompts(self) -> list[tuple[str | None, Prompt] | None]:
        """The rows' texts and prompts."""
        rows_N = self.rows["source_row"].to_numpy()
        found: dict[int, tuple[str | None, Prompt]] = {}
        for part in self.partitions if self.dataset.layout.prompt else ():
            here = rows_N[(rows_N >= part.first_row) & (rows_N < part.first_row + part.rows)]
            if len(here):
                found.update(self.dataset.prompts_at(part, here))
        return [found.get(row) for row in rows_N.tolist()]

    def _read(self, leaves: Mapping[Leaf, Ints]) -> dict[tuple[int, Leaf], str | None]:
        """Read texts by (place, leaf); of every partition only the columns needed there."""
        rows_N = self.rows["source_row"].to_numpy()
        place_of = {int(row): place for place, row in enumerate(rows_N.tolist())}
        found: dict[tuple[int, Leaf], str | None] = {}
        for part in self.partitions:
            wanted: dict[Leaf, Ints] = {}
            for leaf, places in leaves.items():
                rows = rows_N[places]
                here = rows[(rows >= part.first_row) & (rows < part.first_row + part.rows)]
                if len(here):
                    wanted[leaf] = here
            if wanted:
                texts = self.dataset.texts(part, wanted)
                found.update({(place_of[row], leaf): t for (row, leaf), t in texts.items()})
        return found


class AnswerReader:
    """The answers to rows of a selection: its scores, moments and data set, opened once.

    Args:
        config: the data set, the crowd and the reward models.
        scores: of all rows.
        metrics: of all rows.
    """

    def __init__(self, config: SelectConfig, scores: Artifact, metrics: Artifact) -> None:
        self._config, self._scores = config, scores
        self._fitted = stored_moments(metrics)
        self._dataset = open_dataset(config)
        self._partitions = self._dataset.partitions(FINE_ROWS)
        self._last: Answers | None = None

    def of(self, ids: pl.Series, numbers: Ints | None = None) -> Answers:
        """Return the answers of the rows with these ids, in their order.

        Args:
            ids: of rows of the scores.
            numbers: where the rows stand in a table of the run, so that only their shards are read.
        """
        last = self._last
        if last is not None and last.rows["instruction_id"].equals(ids):
            return last
        rows = self._standing(ids, numbers) if numbers is not None else None
        if rows is None:
            rows = self._found(ids)
        self._last = answers = self._answers(self._partitions, rows)
        return answers  # `_last` may be another thread's by now

    def _standing(self, ids: pl.Series, numbers: Ints) -> pl.DataFrame | None:
        """Return the rows with these numbers, None where these have other ids."""
        if numbers.max(initial=-1) >= self._scores.rows:
            return None
        rows = RowReader(self._scores).gather(numbers)
        return rows if rows["instruction_id"].equals(ids) else None

    def _found(self, ids: pl.Series) -> pl.DataFrame:
        """Return the rows with these ids, looked for among all."""
        members = Members(ids)
        frames = [
            frame.filter(pl.Series(members.among(frame["instruction_id"])))
            for frame in self._scores.frames()
        ]
        wanted = pl.DataFrame({"instruction_id": ids})
        return wanted.join(
            pl.concat(frames), on="instruction_id", how="left", maintain_order="left"
        )

    def by_shard(self, ids: pl.Series) -> Iterator[Answers]:
        """Yield the answers of the rows with these ids, a shard of the scores at a time."""
        members = Members(ids)
        for frame in self._scores.frames():
            rows = frame.filter(pl.Series(members.among(frame["instruction_id"])))
            if not rows.is_empty():
                yield self.at(rows)

    def at(self, rows: pl.DataFrame) -> Answers:
        """Return the answers of some rows, at least one, of a shard of the scores."""
        first, last = rows["source_row"][0], rows["source_row"][-1]
        near = [p for p in self._partitions if p.first_row <= last and p.first_row + p.rows > first]
        return self._answers(near, rows)

    def _answers(self, partitions: Sequence[Partition], rows: pl.DataFrame) -> Answers:
        shown_NM = shown_scores(rows, self._config, self._fitted)
        return Answers(self._dataset, partitions, rows, shown_NM)


def kept(config: SelectConfig, answers: Answers) -> tuple[Ints, list[str | None]]:
    """Return the kept model of each row and its text, -1 and None where no answer is complete.

    Of a data set without texts: the first model by preference, and no text.
    """
    mode = mode_of(config)
    ids = answers.ids
    order_NM = preference(mode, answers.shown_NM, answers.models, ids, config.seed)
    if not answers.dataset.layout.answers:
        return order_NM[:, 0], [None] * len(ids)
    seen: dict[tuple[int, int], str | None] = {}

    def texts(asked: Mapping[int, Ints]) -> dict[tuple[int, int], str | None]:
        found = answers.complete(asked)
        seen.update(found)
        return found

    kept_N = keep(mode, order_NM, texts, ids, config.seed)
    return kept_N, [seen.get((row, int(m))) for row, m in enumerate(kept_N)]


def answer_reader(config: SelectConfig, store: Store, scores: Ref, metrics: Ref) -> AnswerReader:
    """Return a reader of the crowd's answers.

    The last one of this process is kept: `pairs` and the report go on with what `selection` has
    opened, and with the rows that it has read. It counts as the same while the artifacts are, shard
    for shard, and the config.
    """
    opened = scores.open(store), metrics.open(store)
    of = (store.place.root, config, [artifact.manifest for artifact in opened])
    with _lock:
        if not _readers or _readers[0][0] != of:
            _readers[:] = [(of, AnswerReader(config, *opened))]
        return _readers[0][1]


_lock = Lock()
_readers: list[tuple[Any, AnswerReader]] = []  # one at the most


def messages(prompt: Prompt | None, response: str | None) -> list[Message] | None:
    """Return the chat of one training row: the whole prompt and the kept answer."""
    if prompt is None or prompt.error is not None or response is None:
        return None
    return [*prompt.messages, {"role": "assistant", "content": response}]
