"""The tasks of an experiment: choices in batches, what a trained cell came to, the results."""

import logging
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import get_ident
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed

from crowdselect_core.cluster import training as spread
from crowdselect_core.cluster.executor import executor_of
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.experiment import cell_files
from crowdselect_core.experiment.batch import Batch, Choose, Remembering
from crowdselect_core.experiment.failures import named
from crowdselect_core.experiment.grid import Grid, Point
from crowdselect_core.experiment.made import Made, made_of
from crowdselect_core.experiment.settings import required
from crowdselect_core.experiment.token_matching import arm_points, matched_points
from crowdselect_core.export import experiment_files, figure_files
from crowdselect_core.planning.experiment_grid import experiment_grid
from crowdselect_core.report.experiment import as_lines, as_markdown, as_rows
from crowdselect_core.report.experiment_page import writing as experiment_page
from crowdselect_core.stages.base import How
from crowdselect_core.stages.graph import CHOICES
from crowdselect_core.stages.refs import RankedArtifacts, Ref
from crowdselect_core.store.artifacts import Store
from tasks import cancellation, terminal
from tasks.devices import gpus, own_devices
from tasks.figures import show_figures
from tasks.stage_task import OPTIONS, state_task

log = logging.getLogger("crowdselect")


@state_task("grid")
def grid(config: SelectConfig) -> State[Grid]:
    """Lay out the cells and check each, before anything is computed."""
    found = experiment_grid(config)
    words = f"{len(found.cells)} cells, {len(found.replicates)} replicates"
    log.info("%-13s %s", "grid", words)
    for left_out in found.left_out:
        log.info("%-13s %s", "grid", left_out.note)
    return Completed(message=words, data=found)


def at_once(config: SelectConfig, work: list[Point]) -> int:
    """Return how many cells are trained at a time: as many as there is room for."""
    experiment = required(config)
    if experiment.max_parallel is not None:
        return experiment.max_parallel
    if not spread.spreads(config):
        return max(gpus() // experiment.gpus_per_cell, 1)
    trainings = [p.config.training for p in work if p.config.training is not None]
    return min((spread.at_once(config.executor, one) for one in trainings), default=1)


def cell_devices(config: SelectConfig, name: str) -> AbstractContextManager[None]:
    """Lend a cell the GPUs that it alone sees; none of this machine's where others train it."""
    if spread.spreads(config):
        return nullcontext()
    return own_devices(required(config).gpus_per_cell, name)


@state_task("choices", whole=["points", "choose"])
def choices(points: list[Point], choose: Choose, tokens: Ref | None) -> State[list[Made]]:
    """Make the choices of many cells of one replicate; those in the store are not made again.

    Args:
        points: the cells.
        choose: runs the stages of a choice.
        tokens: of the answers of all rows; None where the data set has no answers.
    """
    done, total, what = 0, len(points), "cells"

    def progress(stage: str, parts: int, of: int) -> None:
        nonlocal done, total, what
        cancellation.check()
        if stage == CHOICES.name:
            done, total, what = parts, of, "rankings"

    def view() -> terminal.Progress:
        return terminal.Progress(done, total, what)

    config = points[0].config
    executor = executor_of(config, cancellation.check)
    batch = Batch(Store(config.store), tokens, How(executor=executor, progress=progress))
    with _quiet(), terminal.bar("choices", view):
        for point in points:
            cancellation.check()
            batch.add(point, choose)
            done += 1
        made = batch.made()
    cached = sum(one.cached for one in made)
    words = f"{len(made)} cells, {cached} cached"
    log.info("%-13s replicate %d: %s", "choices", points[0].replicate.number, words)
    name = "Cached" if cached == len(made) else None
    return Completed(name=name, message=words, data=made)


@state_task("token-matched", whole=["found", "choose"])
def token_matched(config: SelectConfig, found: Grid, choose: Choose) -> State[list[Point]]:
    """Make the choices that are matched: their answers' tokens are the budgets of the arms."""
    store = Store(config.store)
    runner = Remembering(store, How(progress=lambda *_: cancellation.check()))
    matched = matched_points(config, found)
    with _quiet():
        made = list[Made]()
        for point in matched:
            with named(point):
                made.append(made_of(point, *choose(point.config, runner)))
        work = list(arm_points(config, found, made, store))
    return Completed(message=f"{len(work)} arms", data=work)


@state_task("cell-result")
def cell_result(
    point: Point,
    trained: tuple[RankedArtifacts, Ref, Ref],
    names: dict[str, str],
    started: float,
) -> State[tuple[Made, Made]]:
    """Read what a trained cell came to, and beside it what its untuned base came to.

    Args:
        point: the cell in its replicate.
        trained: its artifacts up to the ranking, the selection, the model.
        names: of the models on the leaderboard, by their role.
        started: the monotonic time it began.
    """
    store = Store(point.config.store)
    seconds = None if trained[-1].cached else round(time.monotonic() - started, 1)
    made = cell_files.result(store, point, trained, names, seconds)
    return Completed(message=point.cell.name, data=made)


@state_task("results", whole=["found", "made"])
def results(
    config: SelectConfig, found: Grid, instructions: Ref, made: list[Made]
) -> State[dict[str, Any]]:
    """Compare the cells, and write OUT/experiment.parquet and the tables beside it."""
    cancellation.check()
    told = experiment_files.results(config, found, Store(config.store), instructions, made)
    cancellation.check()
    experiment_files.write(config, told)
    log.info("%-13s written to %s", "results", config.out)
    drawn = figures(config, told)
    shown = {
        "lines": as_lines(told),
        "files": [*experiment_files.names_of(config), *drawn],
        "figures": drawn,
        "markdown": as_markdown(told),
        "tables": as_rows(told),
    }
    return Completed(message=f"written to {config.out}", data=shown)


def figures(config: SelectConfig, told: experiment_files.Results) -> list[str]:
    """Write OUT/figures; without the key, remove an earlier run's."""
    if not config.figures:
        figure_files.remove(config.out)
        return []
    from crowdselect_core.report.figures.experiment import draw_experiment  # imports matplotlib

    drawn = draw_experiment(told)
    names = figure_files.write(config.out, figure_files.experiment_spec(drawn), drawn)
    log.info("%-13s %d files", "figures", len(names))
    return names


@state_task("report")
def report(out: str) -> State[int]:
    """Write OUT/report.html from the tables in OUT."""
    cancellation.check()
    size = experiment_page.write(out)
    log.info("%-13s %s bytes, in %s", "report", f"{size:,}", out)
    return Completed(message=f"written to {out}", data=size)


@task(name="publish-experiment", **OPTIONS)
def publish(out: str, told: dict[str, Any]) -> None:
    """Show the verdicts, the tables and the figures as artifacts in the Prefect UI."""
    create_markdown_artifact(told["markdown"], key="experiment", description="What was found")
    for name, rows in told["tables"].items():
        create_table_artifact(rows, key=f"experiment-{name}", description=f"The {name}")
    show_figures(out, told["figures"], "experiment-figure")


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what each of many choices tells of its data set: it is the same every time."""
    own = get_ident()

    def worth_telling(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING or record.thread != own

    log.addFilter(worth_telling)
    try:
        yield
    finally:
        log.removeFilter(worth_telling)
