"""Results that an outside program computed, as cells of the store: nothing is run twice.

A cell holds the results of one model on one benchmark (of lm-eval: on one task).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from crowdselect_core.errors import DamagedArtifact
from crowdselect_core.evaluate.tally import Result
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.cache.call_cache import CallCache
from crowdselect_core.store.cache.key_index import as_keys, cell_key
from crowdselect_core.store.identity import Spec, canonical
from crowdselect_core.tables import Columns

STAGE, VERSION = "benchmark-result", 1
CELL: Columns = {"results": pl.String}


@dataclass(frozen=True)
class Measured:
    """One number: a metric with its interval (null where there is none) and its sample size.

    Args:
        metric: its name.
        value: null where it could not be computed.
        low: end of the interval.
        high: the other one.
        n: samples.
        unparsed: those of them without an answer, which count as wrong.
    """

    metric: str
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    unparsed: int = 0


class ResultCells:
    """The results of one model by one benchmark.

    Args:
        store: where they are.
        identity: all that changes a result: the weights, the benchmark's arguments and version.
    """

    def __init__(self, store: Store, identity: Mapping[str, Any]) -> None:
        self._cells = CallCache(store, Spec(STAGE, VERSION, identity), CELL)
        self._cells.refresh()

    def find(self, part: str) -> list[Measured] | None:
        """Return the results of a part of the benchmark (of a task, say), None where it has none.

        Raises:
            DamagedArtifact: the cell holds something else.
        """
        found = self._cells.read(as_keys([cell_key(part.encode())]))
        if not found.height:
            return None
        try:
            return [Measured(**row) for row in json.loads(found["results"][0])]
        except (ValueError, TypeError, RecursionError):
            raise DamagedArtifact(f"{self._cells.spec.folder}: a cell holds no results") from None

    def keep(self, part: str, results: Sequence[Measured]) -> None:
        """Store the results of a part."""
        text = canonical([asdict(one) for one in results]).decode()
        self._cells.commit([(cell_key(part.encode()), text)])


def as_results(model: str, measured: Sequence[Measured]) -> list[Result]:
    """Return lines of the leaderboard."""
    return [
        Result(
            metric=one.metric,
            category=None,
            model=model,
            judge=None,
            value=one.value,
            low=one.low,
            high=one.high,
            n=one.n,
            unparsed=one.unparsed,
        )
        for one in measured
    ]
