"""The cells of a model's answers: rows of a call cache, normalised as they are read.

A cell stays as it was stored. A finish reason gets OpenAI's name, thinking before a lone
`</think>` is told apart, a withheld text is none, and an answer that its server broke off counts
as missing, so that it is asked for again.
"""

import polars as pl

from crowdselect_core.generate.base import Answer
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.cache.call_cache import CallCache
from crowdselect_core.store.cache.key_index import Keys
from crowdselect_core.store.cache.saved_index import Void
from crowdselect_core.store.identity import Spec
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


Row = tuple[bytes, str | None, str | None, str | None, int | None, int | None, str | None]


def cells_of(store: Store, spec: Spec) -> CallCache:
    """Open the cells of a model's answers by their name."""
    return CallCache(store, spec, CELL, BROKEN_OFF)


def cell_of(answer: Answer) -> Row:
    """Return the row of an answer's cell: the key, then CELL."""
    return (
        answer.key, answer.text, answer.reasoning, answer.finish_reason,
        answer.prompt_tokens, answer.completion_tokens, answer.error,
    )  # fmt: skip


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


BROKEN_OFF = Void("finish_reason", _is_broken_off)
