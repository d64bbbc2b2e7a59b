"""What an experiment would do: its cells, which of them are stored, hours, money and disk."""

from collections.abc import Iterator, Sequence

from crowdselect_core.annotate.factory import annotates
from crowdselect_core.cluster.training import spreads
from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.evaluate.benchmarks.factory import open_benchmark
from crowdselect_core.evaluate.candidates import candidates, expected
from crowdselect_core.experiment.cells import Cell, as_whole
from crowdselect_core.experiment.grid import Grid, points
from crowdselect_core.experiment.settings import required
from crowdselect_core.generate.factory import Secret
from crowdselect_core.planning.data_check import checked_data
from crowdselect_core.planning.dry_run import Planner, executor_line
from crowdselect_core.planning.evaluation_forecast import (
    drawn_prompts,
    evaluation_bills,
    quiet_tools,
)
from crowdselect_core.planning.experiment_grid import experiment_grid, pool_share
from crowdselect_core.planning.experiment_lookup import Found, Story, annotation_bills, look_up
from crowdselect_core.planning.generation_cost import bills
from crowdselect_core.planning.missing_work import MissingWork
from crowdselect_core.planning.stored_lookup import StoredLookup
from crowdselect_core.stages.crowd.zoo import dataset_of
from crowdselect_core.stages.graph import SELECTION
from crowdselect_core.stages.refs import Ref
from crowdselect_core.store.artifacts import Store
from crowdselect_core.util.text import plain

SPREADS = (
    "the stages of the selections, trainings and held-out losses spread over its nodes, other "
    "evaluations run on this machine"
)


def experiment_forecast(config: SelectConfig, story: Story, secret: Secret) -> list[str]:
    """Say what an experiment would do; nothing is computed, asked or written.

    Args:
        config: resolved.
        story: the stages of a selection in their order.
        secret: from a block's name to the key that it holds.

    Raises:
        UserError: whatever the run itself would refuse before its first stage.
    """
    found, checked = experiment_grid(config), checked_data(config, "experiment")
    missing_work, rows, share = checked.missing, checked.rows, pool_share(config)
    lines = [
        f"data set   {config.dataset.path}: {rows:,} rows, of which a replicate chooses among "
        f"about {round(rows * share):,}",
        _grid_line(found),
        *(f"note       {one.note}" for one in found.left_out),
        f"store      {config.store}",
        f"out        {config.out}",
        *executor_line(config, SPREADS),
    ]
    planner = Planner(Store(config.store))
    if missing_work:
        every = config.model_copy(update={"heldout": None, "subsample": None})
        lines += bills(every, missing_work)
        zoo = StoredLookup(every, missing_work, planner.store).zoo()
        if zoo is None:
            return [*lines, *_live_lines(config, found, planner, missing_work)]
        config = as_whole(config, dataset_of(every, zoo))
        found = experiment_grid(config)
    looked = look_up(config, found, story, planner)
    lines += _cell_lines(found, looked)
    lines += _annotated(found, planner, None)
    cached = sum(one.is_cached for one in looked)
    what = "trained cells" if required(config).train else "choices"
    lines.append(f"cached     {cached:,} of {len(looked):,} {what}, all replicates together")
    missing = [one for one in looked if not one.is_cached]
    if required(config).train and missing:
        lines += training_lines(missing, planner.store)
        lines += _evaluation_lines(missing, secret)
    return lines


def _live_lines(
    config: SelectConfig, found: Grid, planner: Planner, missing_work: MissingWork
) -> Iterator[str]:
    """Say what comes after the answers and scores that are made first, as far as is known."""
    yield from _cell_lines(found, [])
    yield from _annotated(found, planner, missing_work)
    yield "cached     known once these are made"
    if required(config).train:
        missing = [Found(p, Ref.to_compute(SELECTION.name), False) for p in points(config, found)]
        yield from training_lines(missing, planner.store)


def _annotated(found: Grid, planner: Planner, missing_work: MissingWork | None) -> Iterator[str]:
    cells = [cell.config for cell in found.choosing if annotates(cell.config)]
    for bill in annotation_bills(cells, planner, missing_work):
        yield f"annotated  {bill.line}, once for all cells and replicates"


def _grid_line(found: Grid) -> str:
    controls = sum(cell.control is not None for cell in found.cells)
    return (
        f"grid       {len(found.cells):,} cells ({controls:,} of them controls) x "
        f"{len(found.replicates):,} replicates"
    )


def _cell_lines(found: Grid, looked: Sequence[Found]) -> Iterator[str]:
    for cell in found.cells:
        own = [one for one in looked if one.point.cell.name == cell.name]
        words = [f"control {cell.control}"] if cell.control else []
        if own:
            words.append(f"{sum(one.is_cached for one in own)} of {len(own)} cached")
        if cell.trains and cell.chooses:
            words.append(_steps(cell))
        if not cell.chooses:
            words.append("measured beside the trained ones")
        yield f"cell       {plain(cell.name)}" + (f": {', '.join(words)}" if words else "")


def _steps(cell: Cell) -> str:
    training, budget = cell.config.training, cell.config.budget
    tokens = cell.config.budget_tokens or cell.matches
    if training is None or isinstance(budget, float) or tokens:
        return "steps as the rows come to"
    return f"{training.steps(budget):,} steps"


def training_lines(missing: Sequence[Found], store: Store) -> Iterator[str]:
    """Say how long the trainings take, what they cost, and what they write."""
    from crowdselect_core.finetune.base_model import base_model
    from crowdselect_core.finetune.data import rows_of
    from crowdselect_core.finetune.estimate import estimate
    from crowdselect_core.finetune.in_process import source
    from crowdselect_core.finetune.measured import measured_rate
    from crowdselect_core.finetune.recipe import has_gpu, kind_of_work
    from crowdselect_core.finetune.training import prepare

    gpu, hours, money, disk, unknown, most = has_gpu(), 0.0, 0.0, 0, 0, False
    for one in missing:
        training = one.point.config.training
        if training is None or training.command is not None:
            unknown += 1
            continue
        base = base_model(training)
        disk += estimate(training, source(training, base, gpu).config(), gpu).disk
        rate = training.rate or measured_rate(store, kind_of_work(training, base, gpu))
        if one.data.is_computed:
            rows = rows_of(training, one.data.open(store).frame())
            tokens = prepare(training, base, rows, gpu).rows.counts["tokens"]
        elif isinstance(one.point.config.budget, int):
            tokens, most = one.point.config.budget * training.max_length, True
        else:
            tokens = 0
        if not rate or not tokens:
            unknown += 1
            continue
        own = tokens * training.num_train_epochs / rate / 3600
        hours, money = hours + own, money + training.price.cost(0, 0, own)
    at_most = " at most (rows of max_length, where they are not chosen yet)" if most else ""
    known = len(missing) - unknown
    where = " on the Ray cluster" if spreads(missing[0].point.config) else ""
    if known:
        yield f"time       {hours:,.2f} hours of {known:,} trainings{where}{at_most}"
    if unknown:
        yield (
            f"time       not known of {unknown:,} trainings{where}, nor is their cost: set "
            "training.rate (tokens/s); the rate of a training of this base model is remembered"
        )
    if known:
        yield f"cost       {money:,.2f} of these trainings at training.price"
    yield f"disk       {disk / 1e9:,.2f} GB in the store: checkpoints and models"


def _evaluation_lines(missing: Sequence[Found], secret: Secret) -> Iterator[str]:
    """Say what is asked of models and judges: of one cell, and of all at most."""
    config = missing[0].point.config
    if not isinstance(config, EvaluateConfig):
        return
    tools = quiet_tools(config, secret)
    benchmarks = [open_benchmark(b, config) for b in tools.evaluation.benchmarks]
    models = candidates(config, tools.store, None)
    for benchmark in benchmarks:
        benchmark.check(config, expected(config, models))
    found = evaluation_bills(benchmarks, models, tools, drawn_prompts(config))
    requests, money = sum(b.requests for b in found), sum(b.money for b in found)
    yield (
        f"evaluation {len(benchmarks)} benchmarks; a cell asks {requests:,} requests for "
        f"{money:,.2f}, all missing cells at most {requests * len(missing):,} for "
        f"{money * len(missing):,.2f}"
    )
