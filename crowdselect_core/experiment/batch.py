"""The choices of many cells of one replicate, made together.

The stages that they share are made once, as other flows make them and under the same keys. What
each cell ranks and chooses comes to one artifact (`choices`), in which nothing is stored twice.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

from crowdselect_core.annotate.factory import annotates
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.experiment.failures import named, replicate_of, with_keys
from crowdselect_core.experiment.grid import Point
from crowdselect_core.experiment.made import Made
from crowdselect_core.stages.base import How, P, Runner, Stage, refs_in
from crowdselect_core.stages.graph import CHOICES, RANKING, SELECTION
from crowdselect_core.stages.refs import RankedArtifacts, Ref
from crowdselect_core.stages.select import ranking as ranking_stage
from crowdselect_core.stages.select.choice_inputs import ChoiceInputs
from crowdselect_core.store.artifacts import Store

# Runs the stages of a choice.
Choose = Callable[[SelectConfig, Runner], tuple[RankedArtifacts, Ref]]


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


@dataclass
class Deferring:
    """Runs the stages of a selection, but ranks and chooses nothing: a batch does that at once.

    A ranking that another stage reads is made after all.

    Args:
        run: runs every other stage.
    """

    run: Runner
    _deferred: dict[str, tuple[Stage[Any], Any, tuple[Any, ...], dict[str, Any]]] = field(
        default_factory=dict
    )

    def __call__(self, stage: Stage[P], config: Any, /, *inputs: P.args, **named: P.kwargs) -> Ref:
        """Return the stage's artifact; of a ranking and a selection what names it."""
        read = list(refs_in([*inputs, *named.values()]))
        if not all(ref.is_computed for ref in read):  # a dry run: there is nothing to name it by
            return self.run(stage, config, *inputs, **named)
        if stage.name in (RANKING.name, SELECTION.name):
            spec = stage.spec(config, *inputs, **named)
            self._deferred[spec.key] = (stage, config, inputs, named)
            return Ref(stage=spec.stage, key=spec.key, rows=0)
        for ref in read:
            if ref.key in self._deferred:
                wanted, own, its, further = self._deferred[ref.key]
                self.run(wanted, own, *its, **further)
        return self.run(stage, config, *inputs, **named)

    def with_budget(self, selection: Ref, budget: int | float) -> Ref:
        """Return what names the selection of another budget, where all else is the same."""
        stage, config, inputs, named = self._deferred[selection.key]
        return self(stage, config.model_copy(update={"budget": budget}), *inputs, **named)

    def inputs(self, selection: Ref) -> ChoiceInputs:
        """Return what a selection that was deferred is made from."""
        _, config, (scores, metrics, ranking, clusters), _ = self._deferred[selection.key]
        stage, _, inputs, named = self._deferred[ranking.key]
        ranked = stage.signature.bind(config, *inputs, **named).arguments
        return ChoiceInputs(
            config, scores, metrics,
            answers=ranked["answers"], values=ranked.get("values"),
            vectors=ranked.get("vectors"), clusters=clusters,
        )  # fmt: skip


def batches(points: Iterable[Point]) -> Iterator[tuple[list[Point], list[Point]]]:
    """Yield by replicate the cells that are chosen together, and those whose model is asked first.

    Args:
        points: cells of an experiment without trainings, those of a replicate together.
    """
    for _, group in groupby(points, lambda point: point.replicate.number):
        together, alone = list[Point](), list[Point]()
        for point in group:
            (alone if annotates(point.config) else together).append(point)
        yield together, alone


@dataclass
class Batch:
    """Makes the choices of some cells of one replicate.

    Args:
        store: where the artifacts are.
        tokens: of the answers of all rows; None where the data set has no answers.
        how: how artifacts are built.
    """

    store: Store
    tokens: Ref | None
    how: How = field(default_factory=How)
    _added: list[tuple[Point, RankedArtifacts, Ref, float | None]] = field(default_factory=list)
    # of cells that are alike: what they share, and which of those added is the first of them
    _first: list[tuple[tuple[Any, ...], int]] = field(default_factory=list)
    _run: Remembering = field(init=False)
    _deferring: Deferring = field(init=False)

    def __post_init__(self) -> None:
        self._run = Remembering(self.store, self.how)
        self._deferring = Deferring(self._run)

    def add(self, point: Point, choose: Choose) -> None:
        """Make what a cell needs before it ranks, unless it is there.

        Cells that differ in their budget alone need the same, unless their ranking asks for the
        budget too: the stages are gone through once.
        """
        plain = point.config.model_copy(update={"budget": 1, "out": ""})
        alike = (plain, ranking_stage.identity(point.config))
        for known, place in self._first:
            if known == alike:
                _, rows, selection, seconds = self._added[place]
                selection = self._deferring.with_budget(selection, point.config.budget)
                self._added.append((point, rows, selection, seconds))
                return
        self._run.begin()
        with named(point):
            rows, selection = choose(point.config, self._deferring)
        self._first.append((alike, len(self._added)))
        self._added.append((point, rows, selection, self._run.seconds))

    def made(self) -> list[Made]:
        """Rank and choose for all cells that were added, unless that is in the store."""
        if not self._added:
            return []
        inputs = [
            replace(
                self._deferring.inputs(selection),
                cell=point.cell.name,
                replicate=replicate_of(point),
            )
            for point, _, selection, _ in self._added
        ]
        with with_keys():
            choices = self._run(CHOICES, inputs[0].config, inputs, self.tokens)
        own = 0.0 if choices.cached else choices.seconds / len(self._added)
        return [
            Made(
                point.cell.name,
                point.replicate.number,
                rows,
                selection,
                choices=choices,
                cached=choices.cached and seconds is None,
                seconds=None if choices.cached and seconds is None else (seconds or 0.0) + own,
            )
            for point, rows, selection, seconds in self._added
        ]
