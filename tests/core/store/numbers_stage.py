"""A stage for the tests of the store: shards of numbers, and a list of those that were computed."""

import threading
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import polars as pl

from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import Plan, ShardResult

SPEC = Spec("numbers", 1, {"seed": 7, "model": "m"}, {"rows": "k"})
ROWS = 60


class Work:
    """A plan over `ROWS` numbers that notes which of its shards were computed.

    Args:
        shard_rows: rows a shard.
        before: called with the shard's index before it is computed; what it raises, the shard does.
    """

    def __init__(self, shard_rows: int = 10, before: Callable[[int], None] | None = None) -> None:
        self.shard_rows, self._before = shard_rows, before or (lambda _: None)
        self._made: list[int] = []
        self._lock = threading.Lock()

    @property
    def made(self) -> list[int]:
        """The shards that were computed, in order."""
        return sorted(self._made)

    @property
    def plan(self) -> Plan:
        """A plan to build once."""
        return Plan(
            len(range(0, ROWS, self.shard_rows)),
            lambda index: self._part(index, index * self.shard_rows),
            cut={"rows": self.shard_rows},
            facts=lambda: {"sum": sum(range(ROWS))},
        )

    def _part(self, index: int, start: int) -> ShardResult:
        self._before(index)
        with self._lock:
            self._made.append(index)
        return ShardResult(frame(start, self.shard_rows), {"even": self.shard_rows // 2})


def frame(start: int, rows: int) -> pl.DataFrame:
    """Return some of the numbers, each with the sha256 of its decimal digits."""
    numbers = range(start, min(start + rows, ROWS))
    digests: list[Any] = [sha256(b"%d" % n).hexdigest() for n in numbers]
    return pl.DataFrame({"number": list(numbers), "digest": digests})


WHOLE = frame(0, ROWS)
