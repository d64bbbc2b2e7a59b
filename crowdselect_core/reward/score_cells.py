"""The cells of a reward model's scores, named by the prompt and the answer's own text."""

import math
from hashlib import sha256

import polars as pl

from crowdselect_core.config.reward import RewardConfig
from crowdselect_core.generate.base import Failure
from crowdselect_core.generate.call_tracker import CallTracker
from crowdselect_core.reward.base import Score
from crowdselect_core.reward.identity import cache_spec
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.cache.call_cache import CallCache
from crowdselect_core.store.cache.writer import CacheWriter
from crowdselect_core.tables import Columns

CELL: Columns = {
    "scores": pl.List(pl.Float64),
    "truncated": pl.Boolean,
    "raw": pl.String,
    "error": pl.String,
}


def cells_of(store: Store, reward: RewardConfig) -> CallCache:
    """Open the cells of a reward model's scores."""
    return CallCache(store, cache_spec(reward), CELL)


def text_digest(text: str) -> bytes:
    """Return the first 16 bytes of the sha256 of a text."""
    return sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]


def take(calls: CallTracker, writer: CacheWriter, given: Score) -> None:
    """Store a score, or an error that lies in the row; count it either way."""
    calls.finished(given.key)
    usable = given.error is None and all(math.isfinite(s) for s in given.scores)
    if usable:
        writer.add((given.key, list(given.scores), given.truncated, given.raw, None))
        calls.success()
        return
    error = given.error or "not_finite: a score is not a finite number"
    if given.failure is Failure.ROW or given.error is None:
        writer.add((given.key, None, given.truncated, given.raw, error))
        calls.failure(given.key, error, Failure.ROW)
    else:
        calls.failure(given.key, error, given.failure)
