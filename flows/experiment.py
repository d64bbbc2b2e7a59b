"""The experiment flow: a grid of selections, trained on or not, compared over replicates.

Every cell is what the other flows make of its config, under the same keys of the store: stages that
cells share run once, cells that exist are cached, and a grid that was killed goes on.

Run it as `python -m flows.experiment`, deploy it as `flows.experiment.experiment`.
"""

if __name__ == "__main__":  # before prefect is imported: --help is quick, the console is set up
    import sys

    from flows.cli import main

    sys.exit(main(flow="experiment"))

import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from prefect import flow

from crowdselect_core.annotate.factory import annotates
from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.evaluate.leaderboard import check_out
from crowdselect_core.experiment.batch import Choose, batches
from crowdselect_core.experiment.cells import as_whole
from crowdselect_core.experiment.failures import named
from crowdselect_core.experiment.grid import Grid, Point, points
from crowdselect_core.experiment.made import Made, made_of
from crowdselect_core.experiment.settings import required
from crowdselect_core.experiment.token_matching import matched_points
from crowdselect_core.export import experiment_files, figure_files
from crowdselect_core.planning import preflight
from crowdselect_core.planning.experiment_forecast import experiment_forecast
from crowdselect_core.planning.missing_work import find_missing
from crowdselect_core.stages.base import Runner
from crowdselect_core.stages.graph import (
    ANSWER_TOKENS,
    EMBEDDINGS,
    INSTRUCTIONS,
    PAIRS,
    SELECTION,
)
from crowdselect_core.stages.refs import RankedArtifacts, Ref
from crowdselect_core.stages.select.embedder import is_fitted
from flows import crowd_steps, evaluate, parallel
from flows.select import ranked
from tasks import experiment as tasks
from tasks import flow_runs, near_misses
from tasks.secrets import lend, secret
from tasks.stage_task import run as run_task


@flow(name="experiment", version=flow_runs.VERSION, persist_result=False)
@flow_runs.tracked
def experiment(config: SelectConfig) -> Any:
    """Compare selections by their choices, or by the models that are trained on them.

    Args:
        config: what to choose from, the grid (key `experiment`), what to train and measure by.
    """
    lend(config)
    config = config.resolved()
    preflight.check_out(config, experiment_files.names_of(config))
    if config.figures:
        figure_files.check_replaceable(config.out, figure_files.EXPERIMENT_NAMES)
    with near_misses.first_of_each_stage():  # cells differ from each other by design
        return crowd_steps.repaired(config, story)


def story(config: SelectConfig) -> dict[str, Any]:
    """Lay out the grid, make its cells, compare them, write and show the results."""
    found = tasks.grid(config)
    whole = answered(config)
    if whole is not config:
        found = tasks.grid(whole)
    instructions = run_task(INSTRUCTIONS, whole, None)
    preflight.check_data(whole, instructions)
    made = (trained if required(whole).train else chosen)(whole, found, instructions)
    told = tasks.results(whole, found, instructions, made)
    tasks.publish(whole.out, told)
    if whole.report is not False:  # last: where it fails, the results are there
        tasks.report(whole.out)
    return {"lines": told["lines"], "files": told["files"], "stages": []}


def answered(config: SelectConfig) -> SelectConfig:
    """Make the answers and scores that the data set lacks, once for all cells.

    They are made of all rows, those that a replicate holds out too: another replicate chooses among
    these.
    """
    missing = find_missing(config)
    if not missing:
        preflight.describe_data(config)
        return config
    every = config.model_copy(update={"heldout": None, "subsample": None})
    made, _, _ = crowd_steps.zoo(every, missing)
    return as_whole(config, made)


def chosen(config: SelectConfig, found: Grid, instructions: Ref) -> list[Made]:
    """Make the choices of all cells: a task for the cells of one replicate."""
    choose = partial(choice, vectors=embedded(config, found, instructions))
    tokens = None
    if instructions.facts["answers"]:
        tokens = run_task(ANSWER_TOKENS, config, instructions)
    made: list[Made] = []
    for together, alone in batches(work_of(config, found, choose)):
        if together:
            name = f"replicate {together[0].replicate.number}"
            made += tasks.choices.of(name, [])(together, choose, tokens)
        made += [own_choice(point, choose) for point in alone]
    return made


def own_choice(point: Point, choose: Choose) -> Made:
    """Make the choice of one cell whose model runs, or is asked, in a task of its own."""
    with named(point):
        return made_of(point, *choose(point.config, run_task))


def work_of(config: SelectConfig, found: Grid, choose: Choose) -> list[Point]:
    """Return all cells, those of a replicate together; token-matched arms with their budgets."""
    work = list(points(config, found))
    if found.matched:
        for point in matched_points(config, found):
            if annotates(point.config):
                own_choice(point, choose)
        work += tasks.token_matched(config, found, choose)
        work.sort(key=lambda point: point.replicate.number)
    return work


def choice(
    config: SelectConfig, run: Runner, vectors: Sequence[Ref] = ()
) -> tuple[RankedArtifacts, Ref]:
    """Run the stages of a choice, without what only a report of it shows."""
    rows = ranked(config, None, vectors, run, lengths=False)
    inputs = rows.inputs
    selected = (inputs.scores, inputs.metrics, inputs.ranking, inputs.clusters)
    return inputs, run(SELECTION, rows.config, *selected)


def planned(config: SelectConfig, run: Runner) -> Ref:
    """Run the stages of a choice as far as the pairs, where it is trained on these."""
    inputs, selection = choice(config, run)
    if config.training is None or not config.training.on_pairs:
        return selection
    return run(PAIRS, config, inputs.scores, inputs.metrics, selection)


def embedded(config: SelectConfig, found: Grid, instructions: Ref) -> list[Ref]:
    """Embed all rows once, where a model does it: no replicate embeds a text again."""
    balanced = any(cell.config.clusters > 1 for cell in found.choosing)
    if is_fitted(config) or not balanced or not preflight.is_balanced(config, instructions):
        return []
    return [run_task(EMBEDDINGS, config, instructions, None, [])]


def trained(config: SelectConfig, found: Grid, instructions: Ref) -> list[Made]:
    """Train and evaluate on the choice of every cell, each as a run of its own."""
    work = work_of(config, found, choice)
    both = parallel.each(work, lambda point: cell_run(config, point), tasks.at_once(config, work))
    cells = [cell for cell, _ in both]
    return [*cells, *untuned(found, list(zip(work, (base for _, base in both), strict=True)))]


def untuned(found: Grid, bases: list[tuple[Point, Made]]) -> Iterator[Made]:
    """Yield what the untuned base models came to: every cell of a base model has measured it."""
    for cell in found.cells:
        own = cell.config.training
        if cell.chooses or own is None:
            continue
        seen: set[int] = set()
        for point, base in bases:
            training = point.config.training
            same = training is not None and training.base_model == own.base_model
            if same and base.replicate not in seen:
                seen.add(base.replicate)
                yield base.of(cell.name)


def cell_run(config: SelectConfig, point: Point) -> tuple[Made, Made]:
    """Run one cell as a run of its own, on GPUs that it alone sees."""
    name = f"{point.cell.name}, replicate {point.replicate.number}"
    own = evaluated(point.config)
    whole = evaluated(point.with_whole_crowd(config)) if point.cell.setting.is_part else None
    # as a callable: a text would be a template, and its braces would be filled in
    subflow = cell.with_options(flow_run_name=lambda: name)
    with tasks.cell_devices(config, name), named(point):
        started = time.monotonic()
        run: Any = subflow(own, whole)
    result: evaluate.Measured = run
    if result.selection is None:
        raise TypeError(f"{name}: trains on no selection")
    names = {str(model.role): model.name for model in result.models if model.role != "other"}
    refs = (result.selection, result.selection.selection, result.stages[-1])
    return tasks.cell_result(point, refs, names, started)


def evaluated(config: SelectConfig) -> EvaluateConfig:
    """Return the config of a trained cell as what it is, one of an evaluation."""
    if not isinstance(config, EvaluateConfig):
        raise TypeError("a cell that trains nothing is not evaluated")
    return config


@flow(name="experiment-cell", version=flow_runs.VERSION, persist_result=False)
def cell(config: EvaluateConfig, whole: EvaluateConfig | None = None) -> Any:
    """Select, train and evaluate one cell of an experiment.

    Args:
        config: of the cell.
        whole: the same with the whole crowd, where the cell has a part of it.
    """
    check_out(config.out)
    evaluate.check(config)
    return evaluate.measured(config, whole)


def dry_run(config: SelectConfig) -> list[str]:
    """Say what the cells would compute, and what they would cost."""
    return experiment_forecast(config, planned, secret)
