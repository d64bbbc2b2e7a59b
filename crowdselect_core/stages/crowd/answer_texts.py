"""The texts of a crowd model's answers, wherever they are: cells of the store, or the data set."""

from dataclasses import dataclass
from hashlib import sha256

import polars as pl

from crowdselect_core.config.crowd import CrowdModel
from crowdselect_core.errors import DamagedArtifact
from crowdselect_core.generate.answer_cells import cells_of, read_answers
from crowdselect_core.generate.identity import cache_spec
from crowdselect_core.ingest.dataset import Dataset
from crowdselect_core.stages.crowd.dataset_answers import given_answers
from crowdselect_core.stages.refs import Ref
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.cache.call_cache import CallCache
from crowdselect_core.store.cache.key_index import as_keys


def open_cells(store: Store, model: CrowdModel) -> CallCache:
    """Open the cells of a crowd model's answers."""
    return cells_of(store, cache_spec(model))


@dataclass(frozen=True)
class Answered:
    """The answers of one crowd model: the table, and where the texts are."""

    model: CrowdModel
    responses: Ref

    @property
    def generated(self) -> bool:
        """Whether its texts are cells; else the data set has them."""
        return bool(self.responses.facts["generated"])


class Texts:
    """The texts of one model's answers, from its cells or from the data set."""

    def __init__(self, store: Store, dataset: Dataset, answered: Answered) -> None:
        self._store, self._dataset, self._answered = store, dataset, answered
        self._cells = open_cells(store, answered.model) if answered.generated else None
        if self._cells is not None:
            self._cells.refresh()

    def of(self, table: pl.DataFrame) -> list[str | None]:
        """Return the text of every row of a part of the responses table.

        Raises:
            DamagedArtifact: a text is gone, or is another one than the table tells of. The table
                is removed with it, so that the next look at the store makes both anew.
        """
        if self._cells is None:
            return given_texts(self._dataset, table, self._answered.model.name)
        keys = table["cell"].to_list()
        rows = read_answers(self._cells, as_keys(k for k in keys if k is not None))
        by_key = dict(zip(rows["key"].to_list(), rows["text"].to_list(), strict=True))
        texts = [by_key.get(k) if k is not None else None for k in keys]
        wrong = sum(
            digest_of(text) != content
            for text, content in zip(texts, table["content"].to_list(), strict=True)
        )
        if wrong:
            self._store.forget(self._answered.responses.stage, self._answered.responses.key)
            raise DamagedArtifact(
                f"{self._cells.spec.folder}: {wrong} answers of {self._answered.model.name} were "
                "removed or changed"
            )
        return texts

    def reasoning(self, table: pl.DataFrame) -> list[str | None]:
        """Return the thinking before every answer, null where there is none."""
        if self._cells is None:
            return [None] * table.height
        keys = table["cell"].to_list()
        rows = read_answers(self._cells, as_keys(k for k in keys if k is not None))
        by_key = dict(zip(rows["key"].to_list(), rows["reasoning"].to_list(), strict=True))
        return [by_key.get(k) if k is not None else None for k in keys]


def given_texts(dataset: Dataset, table: pl.DataFrame, model: str) -> list[str | None]:
    """Return the texts that the data set itself has."""
    found = {place: text for place, text, _ in given_answers(dataset, table, model)}
    return [found.get(place) for place in range(table.height)]


def digest_of(text: str | None) -> bytes | None:
    """Return the first 16 bytes of the sha256 of a text."""
    return None if text is None else sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]
