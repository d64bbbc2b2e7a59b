"""What a cell came to in one replicate, as references."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from crowdselect_core.experiment.grid import Point
from crowdselect_core.stages.refs import RankedArtifacts, Ref

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Made:
    """A cell in one replicate.

    Args:
        cell: its name.
        replicate: its number.
        rows: the artifacts up to the ranking; None of the untuned model.
        selection: what was chosen; None of the untuned model.
        choices: where what was chosen stands, among other choices; the selection and the ranking
            then only name the artifacts that they would be. None where they are in the store.
        cached: whether everything was in the store.
        seconds: that it took; None where it was there before this run and nobody knows.
        model: the trained model.
        results: rows of its leaderboard: benchmark, metric, value, low, high, n, cost.
        steps: optimizer steps.
        tokens: that were trained on over all epochs.
        notes: what its evaluation tells a reader, such as rows that are left out.
    """

    cell: str
    replicate: int
    rows: RankedArtifacts | None = None
    selection: Ref | None = None
    choices: Ref | None = field(default=None, kw_only=True)
    cached: bool = False
    seconds: float | None = None
    model: Ref | None = None
    results: Sequence[Row] = ()
    steps: int | None = None
    tokens: int = 0
    notes: list[str] = field(default_factory=list)

    def of(self, cell: str) -> "Made":
        """Return the same of a cell of another name."""
        return replace(self, cell=cell)


def made_of(point: Point, rows: RankedArtifacts, selection: Ref) -> Made:
    """Return what a choice came to whose stages have run one by one."""
    refs = [*rows.refs().values(), selection]
    seconds = round(sum(ref.seconds for ref in refs if not ref.cached), 3)
    cached = all(ref.cached for ref in refs)
    return Made(
        point.cell.name,
        point.replicate.number,
        rows,
        selection,
        cached=cached,
        seconds=None if cached else seconds,
    )
