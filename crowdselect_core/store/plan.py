"""How a stage's work is cut into shards."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import polars as pl

from crowdselect_core.store import safe_parquet
from crowdselect_core.store.identity import canonical


@dataclass(frozen=True)
class ShardResult:
    """The rows of one shard, what was counted while they were made, and what the user must know.

    Counts and notes are stored in the shard, so a resumed run reports the same as an undisturbed
    one. A note is what the stage returns as such; nothing that is logged becomes one.
    """

    frame: pl.DataFrame
    counts: Mapping[str, int] = field(default_factory=dict)
    notes: Sequence[str] = ()

    @property
    def rows(self) -> int:
        """Rows of the shard."""
        return self.frame.height


@dataclass(frozen=True)
class ShardCopy:
    """A shard whose rows are those of another artifact's shard: its table is copied as it lies.

    Args:
        data: the bytes of the other shard, checked.
        rows: of it.
        counts: as in `ShardResult`; what the other shard tells of itself is not taken over.
        notes: as in `ShardResult`.
    """

    data: bytes
    rows: int
    counts: Mapping[str, int] = field(default_factory=dict)
    notes: Sequence[str] = ()

    @property
    def frame(self) -> pl.DataFrame:
        """The rows of the shard."""
        return safe_parquet.decode(self.data, rows=self.rows)


@dataclass(frozen=True)
class Plan:
    """How a stage's work is cut: numbered parts, each of them a shard, and a name for the cut.

    Args:
        total: how many parts there are.
        compute: computes the part of an index below `total`; the parts are independent of each
            other, in any order, on any number of threads.
        cut: what the borders of the shards follow from (rows a shard, say). Shards of another cut
            in the same folder are left aside, never mixed.
        facts: gives what the manifest says beside the counts, when all parts are computed.
        without_model: the first so many parts run no model, where those after them do.
    """

    total: int
    compute: Callable[[int], ShardResult | ShardCopy]
    cut: Mapping[str, Any]
    facts: Callable[[], Mapping[str, Any]] = dict
    without_model: int = 0

    @property
    def tag(self) -> str:
        """Eight hex digits that name the cut in the shards' file names."""
        return sha256(canonical(dict(self.cut))).hexdigest()[:8]


def single(make: Callable[[], ShardResult], facts: Callable[[], Mapping[str, Any]] = dict) -> Plan:
    """Return the plan of a stage whose result is one shard."""
    return Plan(1, lambda _: make(), cut={"shards": 1}, facts=facts)
