"""What a cell came to in one replicate, as references; and a runner that makes many choices."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from crowdselect_core.experiment.grid import Point
from crowdselect_core.stages.base import How, P, Stage
from crowdselect_core.stages.refs import RankedArtifacts, Ref
from crowdselect_core.store.artifacts import Store

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Made:
    """A cell in one replicate.

    Args:
        cell: its name.
        replicate: its number.
        rows: the artifacts up to the ranking; None of the untuned model.
        selection: what was chosen; None of the untuned model.
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


@dataclass
class Remembering:
    """Runs stages in this process, and looks each artifact up once; for many cells of one pool.

    Args:
        store: where the artifacts are.
        how: how they are built.
    """

    store: Store
    how: How = field(default_factory=How)
    _known: dict[str, Ref] = field(default_factory=dict)
    _used: set[str] = field(default_factory=set)

    def begin(self) -> None:
        """Begin with the next cell."""
        self._used.clear()

    @property
    def seconds(self) -> float | None:
        """How long the artifacts of this cell took to build, those of others too that it shares.

        None where all of them were in the store before.
        """
        built = [ref.seconds for folder in self._used if not (ref := self._known[folder]).cached]
        return round(sum(built), 3) if built else None

    def __call__(self, stage: Stage[P], config: Any, /, *inputs: P.args, **named: P.kwargs) -> Ref:
        """Return the stage's artifact: as it is known, from the store, or built."""
        spec = stage.spec(config, *inputs, **named)
        self._used.add(spec.folder)
        if spec.folder in self._known:
            return self._known[spec.folder]
        started, found = time.monotonic(), self.store.find(spec)
        if found is None:
            built = stage.build(self.store, spec, self.how, config, *inputs, **named)
            ref = Ref.of(built, time.monotonic() - started, cached=False)
        else:
            ref = Ref.of(found)
        self._known[spec.folder] = ref
        return ref


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
