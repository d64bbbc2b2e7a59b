"""What a section of the page is, and what it is made from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import polars as pl

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.report.page import crowd_answers
from crowdselect_core.report.page.crowd_answers import CrowdAnswers
from crowdselect_core.report.page.sampling import sampled
from crowdselect_core.report.page.texts import clipped
from crowdselect_core.stages.missing_texts import has_answers
from crowdselect_core.stages.refs import SelectionArtifacts
from crowdselect_core.stages.select.kept_answers import AnswerReader, answer_reader
from crowdselect_core.store.artifacts import Store

EXCERPT = 500  # characters of a sampled instruction that are kept: terms are counted in these


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Args:
        name: its anchor, and what begins the ids of its elements.
        title: its heading, and its entry in the table of contents.
        html: its content, escaped.
        blocks: data for the script, by the id of the element that holds it (`packing`).
    """

    name: str
    title: str
    html: str
    blocks: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Its bytes in the page, about."""
        return len(self.html.encode()) + sum(map(len, self.blocks.values()))


@dataclass(frozen=True)
class PageData:
    """What the sections are made from.

    Args:
        config: the resolved config.
        store: where the artifacts are.
        inputs: the artifacts of the run.
        ranking: every row with its reason, the best first (`selection_files.ranking_table`).
        summary: what `report.summary.summarise` gathered.
        texts: whether texts may be read from the data set, which is still the one chosen from.
    """

    config: SelectConfig
    store: Store
    inputs: SelectionArtifacts
    ranking: pl.DataFrame
    summary: Mapping[str, Any]
    texts: bool = True

    @cached_property
    def by_id(self) -> pl.DataFrame:
        """The ranking in id order, with the place `row` of each: what the script counts rows by."""
        return self.ranking.sort("instruction_id").with_row_index("row")

    @cached_property
    def chosen(self) -> pl.DataFrame:
        """The selection table: the chosen rows with their texts, best first."""
        return self.inputs.selection.open(self.store).frame()

    @cached_property
    def sample(self) -> pl.DataFrame:
        """The rows of `by_id` whose beginnings are read: the chosen ones and a random sample.

        Columns: those of `by_id`, and `text`, null where there is none.
        """
        rows = sampled(self.by_id, self.config.seed)
        return rows.with_columns(text=self.instructions(rows["instruction_id"], EXCERPT))

    @cached_property
    def reader(self) -> AnswerReader:
        """The reader of the crowd's answers."""
        return answer_reader(self.config, self.store, self.inputs.scores, self.inputs.metrics)

    @property
    def has_answers(self) -> bool:
        """Whether the data set has answers, and so a kept one of each chosen row."""
        return has_answers(self.inputs)

    @property
    def has_instructions(self) -> bool:
        """Whether the data set has instruction texts; else rows are shown by their ids."""
        return bool(self.inputs.instructions.facts["instructions"])

    @cached_property
    def answers(self) -> CrowdAnswers | None:
        """The crowd's answers to the best chosen rows; None where there are none to read."""
        ids = crowd_answers.of_best(self.chosen)
        if not self.texts or not len(ids):
            return None
        return crowd_answers.read(self.config, self.reader.of(ids))

    def instructions(self, ids: pl.Series, characters: int) -> pl.Series:
        """Return the beginnings of some rows' instructions, null where they cannot be read."""
        if not self.texts or not len(ids):
            return pl.Series([None] * len(ids), dtype=pl.String)
        found = self.reader.of(ids).instructions()
        return pl.Series([clipped(text, characters).text for text in found], dtype=pl.String)


# Makes a section of the data, in the bytes that there is room for; None where there is nothing.
MakeSection = Callable[[PageData, int], Section | None]
