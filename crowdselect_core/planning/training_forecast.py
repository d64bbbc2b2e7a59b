"""What a fine-tuning would do: rows, steps, rows that are too long, memory, disk, time, cost."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import polars as pl

from crowdselect_core.cluster.training import spreads
from crowdselect_core.config.finetune import TrainingConfig, required
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import shown
from crowdselect_core.evaluate.training_overlap import refuse_heldout
from crowdselect_core.finetune import own_trainer, preflight
from crowdselect_core.finetune.base_model import BaseModel
from crowdselect_core.finetune.checkpoints import Checkpoints
from crowdselect_core.finetune.data import rows_of
from crowdselect_core.finetune.licenses import answer_licenses
from crowdselect_core.finetune.measured import measured_rate
from crowdselect_core.finetune.pair_rows import PairRows
from crowdselect_core.finetune.recipe import has_gpu, kind_of_work, layout
from crowdselect_core.finetune.rows import ChatRows
from crowdselect_core.planning import heldout
from crowdselect_core.planning.dry_run import forecast
from crowdselect_core.planning.missing_work import MissingWork
from crowdselect_core.stages.base import Runner
from crowdselect_core.stages.refs import Ref
from crowdselect_core.store.artifacts import Store
from crowdselect_core.util.text import plain

if TYPE_CHECKING:
    from crowdselect_core.finetune.training import Prepared

# Runs the stages of a selection in their order, by whatever runs them; returns what is trained on.
Story = Callable[[SelectConfig, Runner], Ref]


def training_forecast(config: SelectConfig, story: Story) -> list[str]:
    """Say what a fine-tuning would do; nothing is computed or written.

    Args:
        config: the resolved config.
        story: the stages of the selection in their order.

    Raises:
        UserError: whatever the run itself would refuse before its first stage.
    """
    training = required(config.training)
    base = preflight.check(training, elsewhere=spreads(config))
    store = Store(config.store)
    if training.train_file is not None:
        check_train_file(config)
        lines = [f"store      {config.store}", f"out        {config.out}"]
        return lines + _lines(config, base, rows_of(training, None), None, {})
    made: list[Ref] = []

    def watched(config: SelectConfig, *, run: Runner) -> None:
        made.append(story(config, run))

    lines = forecast(config, watched, "finetune")
    known = [ref for ref in made if ref.is_computed]
    rows: ChatRows | PairRows | None = None
    licenses: dict[str, str | None] = {}
    if known:
        frame = known[0].open(store).frame()
        rows, licenses = rows_of(training, frame), answer_licenses(config.everyone, frame)
    budget = config.budget if isinstance(config.budget, int) and not config.budget_tokens else None
    return lines + _lines(config, base, rows, budget, licenses)


def check_train_file(config: SelectConfig) -> None:
    """Refuse a file of training rows that holds a held-out prompt; nothing is computed for it.

    Raises:
        UserError: it does, or nothing is held out.
    """
    if config.heldout is None:
        return
    own = heldout.prompts_alone(config)
    heldout.check(own, MissingWork((), ()))
    drawn = pl.DataFrame({"messages": [list(p) for p in heldout.heldout_prompts(own)]})
    refuse_heldout(required(config.training), drawn)


def _lines(
    config: SelectConfig,
    base: BaseModel,
    rows: ChatRows | PairRows | None,
    budget: int | None,
    licenses: Mapping[str, str | None],
) -> list[str]:
    training, store = required(config.training), Store(config.store)
    where = ", on the Ray cluster" if spreads(config) else ""
    if training.command is not None:
        return _lines_of_a_command(training, base, store, rows, where)
    from crowdselect_core.finetune.estimate import estimate
    from crowdselect_core.finetune.in_process import source
    from crowdselect_core.finetune.training import prepare

    gpu = has_gpu()
    lines = [f"base       {training.base_model} ({base.identity[:19]}...)"]
    tokens, missing, card = None, True, list[str]()
    if rows is None:
        steps = f"{training.steps(budget):,}" if budget else "not known"
        most = " at most" if budget and training.on_pairs else ""
        what = "preference pairs of the selection" if training.on_pairs else "rows as selected"
        lines.append(f"training   {what}, {steps} steps{most}; tokens are known then")
    else:
        prepared = prepare(training, base, rows, gpu, licenses)
        lines += _rows(prepared, store, where)
        missing = store.find(prepared.spec) is None
        tokens = prepared.rows.counts["tokens"] if missing else None
        card = _card(prepared)
    need = estimate(training, source(training, base, gpu).config(), gpu)
    lines += need.lines
    if missing:
        lines += _time(training, measured_rate(store, kind_of_work(training, base, gpu)), tokens)
    return [*lines, *card]


def _rows(prepared: "Prepared", store: Store, where: str) -> list[str]:
    """Say which rows would be trained and where, how many are too long, and what is stored."""
    counts, found = prepared.rows.counts, store.find(prepared.spec)
    own = Checkpoints(store, prepared.spec.key, layout(prepared.config, prepared.gpu))
    pairs = prepared.config.on_pairs
    unfit = "have no two answers that differ" if pairs else "have no answer"
    return [
        f"training   {counts['rows']:,} {'pairs' if pairs else 'rows'}, {counts['tokens']:,} "
        f"tokens, {counts['trained_tokens']:,} of them trained, {prepared.steps:,} steps",
        f"too long   {counts['truncated']:,} cut, {counts['dropped_long']:,} left out; "
        f"{counts['dropped_untrained']:,} more {unfit} within max_length",
        f"model      {'Cached' if found else f'to train, from step {own.last_step()}{where}'}",
    ]


def _time(training: TrainingConfig, measured: float | None, tokens: int | None) -> list[str]:
    """Say how long the training takes and what it costs: tokens x epochs / rate."""
    rate = training.rate or measured
    if rate is None:
        return [
            "time       not known: set training.rate (tokens/s); the rate of a training of this "
            "base model is remembered"
        ]
    origin = "training.rate" if training.rate else "measured in an earlier training"
    if tokens is None:
        return [f"time       known with the rows; {rate:,.0f} tokens/s ({origin})"]
    hours = tokens * training.num_train_epochs / rate / 3600
    lines = [f"time       {hours:,.2f} hours at {rate:,.0f} tokens/s ({origin})"]
    if training.price.hour:
        cost = training.price.cost(0, 0, hours)
        lines.append(f"cost       {cost:,.2f} at {training.price.hour:g} an hour")
    return lines


def _card(prepared: "Prepared") -> list[str]:
    """Show the model card that would be uploaded."""
    from crowdselect_core.finetune.model_card import model_card
    from crowdselect_core.finetune.training import facts

    if prepared.config.push_to is None:
        return []
    told = {**facts(prepared, []), "merged": prepared.config.merge}
    card = [plain(line) for line in model_card(told).splitlines()]
    head = f"upload     to {prepared.config.push_to}, {'merged' if told['merged'] else 'as it is'}:"
    return [head, *(f"card       {line}".rstrip() for line in card)]


def _lines_of_a_command(
    training: TrainingConfig,
    base: BaseModel,
    store: Store,
    rows: ChatRows | PairRows | None,
    where: str,
) -> list[str]:
    """Say what is known of a training by a command: its rows, and whether it is stored."""
    lines = [
        f"base       {training.base_model} ({base.identity[:19]}...)",
        f"training   by training.command: {shown(own_trainer.command_words(training))}",
        "time       not known, nor are steps, memory and disk: the command decides them",
    ]
    if rows is None:
        return lines
    prepared = own_trainer.prepare(training, base, rows)
    found = store.find(prepared.spec)
    return [*lines, f"model      {'Cached' if found else f'to train on {prepared.line}{where}'}"]
