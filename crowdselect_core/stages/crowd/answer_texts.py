"""The texts of a crowd model's answers, wherever they are: cells of the store, or the data set.

A cell stays as it was stored; it is normalised as it is read. A finish reason gets OpenAI's name,
thinking before a lone `</think>` is told apart, a withheld text is none, and an answer that its
server broke off counts as missing, so that it is asked for again.
"""

from dataclasses import dataclass
from hashlib import sha256

import polars as pl

from crowdselect_core.config.crowd import CrowdModel
from crowdselect_core.errors import DamagedArtifact
from crowdselect_core.generate.identity import cache_spec
from crowdselect_core.ingest.dataset import Dataset
from crowdselect_core.stages.crowd.dataset_answers import given_answers
from crowdselect_core.stages.refs import Ref
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.cache.call_cache import CallCache, Void
from crowdselect_core.store.cache.key_index import Keys, as_keys
from crowdselect_core.util.finish_reasons import (
    FILTERED,
    Ending,
    normalise_finish_reason,
    normalised_column,
)
from crowdselect_core.util.thinking import CLOSING, split_thinking

CELL = {
    "text": pl.String,
    "reasoning": pl.String,
    "finish_reason": pl.String,
    "prompt_tokens": pl.Int64,
    "completion_tokens": pl.Int64,
    "error": pl.String,
}


def open_cells(store: Store, model: CrowdModel) -> CallCache:
    """Open the cells of a model's answers."""
    return CallCache(store, cache_spec(model), CELL, Void("finish_reason", _is_broken_off))


def read_answers(cells: CallCache, keys: Keys) -> pl.DataFrame:
    """Return the cells of those keys that have one, normalised; columns: key and CELL."""
    rows = cells.read(keys)
    rows = rows.with_columns(normalised_column(rows["finish_reason"]))
    withheld = (pl.col("finish_reason") == FILTERED) & pl.col("error").is_null()
    why = pl.lit(f"{FILTERED}: the server withheld the answer")
    rows = rows.with_columns(
        text=pl.when(withheld).then(None).otherwise("text"),
        error=pl.when(withheld).then(why).otherwise("error"),
    )
    thinks = pl.col("reasoning").is_null() & pl.col("text").str.contains(CLOSING, literal=True)
    if not rows.select(thinks.any()).item():
        return rows
    said, thought = rows["text"].to_list(), rows["reasoning"].to_list()
    for place in rows.select(thinks.fill_null(False)).to_series().arg_true():
        said[place], thought[place] = split_thinking(said[place])
    return rows.with_columns(
        pl.Series("text", said, pl.String), pl.Series("reasoning", thought, pl.String)
    )


def _is_broken_off(reasons: pl.Series) -> pl.Series:
    failed = [
        word
        for word in reasons.unique().drop_nulls()
        if normalise_finish_reason(word).ending is Ending.FAILED
    ]
    return reasons.is_in(failed).fill_null(False)


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
