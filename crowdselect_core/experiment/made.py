"""What a cell came to in one replicate, as references; and a runner that makes many choices."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

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
    """

    cell: str
    replicate: int
    rows: RankedArtifacts | None = None
    selection: Ref | None = None
    cached: bool = False
    seconds: float | None = None
    model: Ref | None = None
    results: list[Row] = field(default_factory=list)
    steps: int | None = None
    tokens: int = 0


@dataclass
class Remembering:
    """Runs stages in this process, and looks each artifact up once; for many cells of one pool.

    Args:
        store: where the artifacts are.
        how: how they are built.
    """

    store: Store
    how: How = field(default_factory=How)
    built: list[tuple[str, float]] = field(default_factory=list)  # stage and seconds, in order
    _known: dict[str, Ref] = field(default_factory=dict)

    def __call__(
        self, stage: Stage[P], config: Any, /, *inputs: P.args, **named: P.kwargs
    ) -> Ref:
        """Return the stage's artifact: as it is known, from the store, or built."""
        spec = stage.spec(config, *inputs, **named)
        if spec.folder in self._known:
            return self._known[spec.folder]
        started, found = time.monotonic(), self.store.find(spec)
        if found is None:
            built = stage.build(self.store, spec, self.how, config, *inputs, **named)
            seconds = time.monotonic() - started
            self.built.append((stage.name, seconds))
            ref = Ref.of(built, seconds, cached=False)
        else:
            ref = Ref.of(found)
        self._known[spec.folder] = ref
        return ref
