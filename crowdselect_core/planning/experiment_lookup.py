"""Which cells of an experiment are stored, and what models would be asked for the others."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from crowdselect_core.annotate.factory import cache_spec
from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.experiment.batch import Deferring, batches
from crowdselect_core.experiment.grid import Grid, Point, points
from crowdselect_core.experiment.settings import required
from crowdselect_core.experiment.token_matching import matched_points, with_tokens
from crowdselect_core.planning.annotation_cost import AnnotationBill, most_bill, planned_bill
from crowdselect_core.planning.dry_run import Planner
from crowdselect_core.planning.evaluation_forecast import trained_key
from crowdselect_core.planning.missing_work import MissingWork
from crowdselect_core.stages.base import Runner, refs_in
from crowdselect_core.stages.graph import ANSWER_TOKENS, CHOICES, INSTRUCTIONS
from crowdselect_core.stages.refs import Ref

# Runs the stages of a selection; returns the selection, or what is trained on of it.
Story = Callable[[SelectConfig, Runner], Ref]


@dataclass(frozen=True)
class Found:
    """A cell in one replicate, and whether the store has all of it."""

    point: Point
    data: Ref  # the selection, or its pairs
    is_cached: bool


def look_up(config: SelectConfig, found: Grid, story: Story, planner: Planner) -> list[Found]:
    """Look up every choosing cell in every replicate; nothing is computed.

    Args:
        config: resolved; of the whole experiment, with all answers and scores.
        found: its cells.
        story: the stages of a selection in their order.
        planner: looks the stages up; it keeps what would be annotated.
    """
    work, unknown = list(points(config, found)), list[Found]()
    for arm, selection in _arms(config, found, story, planner):
        if selection.is_computed:
            work.append(with_tokens(arm, selection, planner.store))
        else:
            unknown.append(Found(arm, selection, False))
    work.sort(key=lambda point: point.replicate.number)
    if required(config).train:
        return [*(_cell(point, story, planner) for point in work), *unknown]
    tokens = _tokens(config, planner)
    looked: list[Found] = []
    for together, alone in batches(work):
        looked += _batch(together, story, planner, tokens)
        looked += [_cell(point, story, planner) for point in alone]
    return [*looked, *unknown]


def annotation_bills(
    cells: Sequence[SelectConfig], planner: Planner, missing_work: MissingWork | None
) -> Iterator[AnnotationBill]:
    """Yield what every method's model would be asked, once for all cells that share it.

    Where one set of rows lacks annotations, it is what the run asks. Replicates choose among rows
    of their own, whose annotations they share: then it is at most all rows of the data set.

    Args:
        cells: the configs of the cells whose method has a model.
        planner: that has looked the cells up; of one that has not, all is billed at most.
        missing_work: the answers and scores that are made first; None where all are there.
    """
    by_model: dict[str, list[SelectConfig]] = {}
    for cell in cells:
        by_model.setdefault(cache_spec(cell).key, []).append(cell)
    for key, own in by_model.items():
        every = own[0].model_copy(update={"heldout": None, "subsample": None})
        if missing_work is not None:
            yield most_bill(every, planner.store, missing_work)
            continue
        asked = {
            tuple(ref.key for ref in refs_in(inputs)): (config, inputs)
            for config, inputs in planner.annotations
            if cache_spec(config).key == key
        }
        if len(asked) == 1 and all(next(iter(asked))):
            [(config, inputs)] = asked.values()
            yield planned_bill(config, planner.store, inputs)
        elif asked:
            yield most_bill(every, planner.store, MissingWork((), ()))


def _arms(
    config: SelectConfig, found: Grid, story: Story, planner: Planner
) -> Iterator[tuple[Point, Ref]]:
    """Yield the token-matched arms, each with the choice whose tokens are its budget."""
    chosen: dict[tuple[str, int], Ref] = {}
    for point in matched_points(config, found):
        alone = point.config.model_copy(update={"training": None})  # the rows, and not their pairs
        chosen[point.cell.name, point.replicate.number] = story(alone, planner)
    for arm in points(config, found, arms=True):
        yield arm, chosen[str(arm.cell.matches), arm.replicate.number]


def _cell(point: Point, story: Story, planner: Planner) -> Found:
    data = story(point.config, planner)
    if not data.is_computed:
        return Found(point, data, False)
    if isinstance(point.config, EvaluateConfig):
        return Found(point, data, trained_key(point.config, [data]) is not None)
    return Found(point, data, True)


def _batch(
    together: Sequence[Point], story: Story, planner: Planner, tokens: Ref | None
) -> list[Found]:
    """Look up the choices of one replicate, which stand in one artifact."""
    deferring = Deferring(planner)
    named = [story(point.config, deferring) for point in together]
    is_cached = False
    if named and all(ref.is_computed for ref in named) and (tokens is None or tokens.is_computed):
        inputs = [deferring.inputs(ref) for ref in named]
        is_cached = planner(CHOICES, inputs[0].config, inputs, tokens).is_computed
    return [Found(point, ref, is_cached) for point, ref in zip(together, named, strict=True)]


def _tokens(config: SelectConfig, planner: Planner) -> Ref | None:
    """Return the lengths of all answers, or what stands for them; None without answers."""
    instructions = planner(INSTRUCTIONS, config, None)
    if not instructions.is_computed:
        return Ref.to_compute(ANSWER_TOKENS.name)
    if not instructions.facts["answers"]:
        return None
    return planner(ANSWER_TOKENS, config, instructions)
