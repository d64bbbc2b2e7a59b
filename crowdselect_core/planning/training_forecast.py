"""What a fine-tuning would do: rows, tokens, steps, rows that are too long, memory and disk."""

from collections.abc import Callable

from crowdselect_core.config.finetune import TrainingConfig, required
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import shown
from crowdselect_core.finetune import own_trainer, preflight
from crowdselect_core.finetune.base_model import BaseModel
from crowdselect_core.finetune.checkpoints import Checkpoints
from crowdselect_core.finetune.recipe import has_gpu, layout
from crowdselect_core.finetune.rows import ChatRows, file_rows, selected_rows
from crowdselect_core.planning.dry_run import forecast
from crowdselect_core.stages.base import Runner
from crowdselect_core.stages.refs import Ref
from crowdselect_core.store.artifacts import Store

# Runs the stages of a selection in their order, by whatever runs them; returns the selection.
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
    base = preflight.check(training)
    store = Store(config.store)
    if training.train_file is not None:
        lines = [f"store      {config.store}", f"out        {config.out}"]
        return lines + _lines(training, base, store, file_rows(training.train_file), None)
    selections: list[Ref] = []

    def watched(config: SelectConfig, *, run: Runner) -> None:
        selections.append(story(config, run))

    lines = forecast(config, watched, "finetune")
    known = [ref for ref in selections if ref.is_computed]
    rows = selected_rows(known[0].open(store).frame()) if known else None
    budget = config.budget if isinstance(config.budget, int) and not config.budget_tokens else None
    return lines + _lines(training, base, store, rows, budget)


def _lines(
    training: TrainingConfig,
    base: BaseModel,
    store: Store,
    chats: ChatRows | None,
    budget: int | None,
) -> list[str]:
    if training.command is not None:
        return _lines_of_a_command(training, base, store, chats)
    from crowdselect_core.finetune.estimate import estimate
    from crowdselect_core.finetune.in_process import source
    from crowdselect_core.finetune.training import prepare

    gpu = has_gpu()
    lines = [f"base       {training.base_model} ({base.identity[:19]}...)"]
    if chats is None:
        steps = f"{training.steps(budget):,}" if budget else "not known"
        lines.append(f"training   rows as selected, {steps} steps; tokens are known then")
    else:
        prepared = prepare(training, base, chats, gpu)
        found, counts = store.find(prepared.spec), prepared.rows.counts
        own = Checkpoints(store, prepared.spec.key, layout(training, gpu))
        lines += [
            f"training   {counts['rows']:,} rows, {counts['tokens']:,} tokens, "
            f"{counts['trained_tokens']:,} of them trained, {prepared.steps:,} steps",
            f"too long   {counts['truncated']:,} cut, {counts['dropped_long']:,} left out; "
            f"{counts['dropped_untrained']:,} more have no answer within max_length",
            f"model      {'Cached' if found else f'to train, from step {own.last_step()}'}",
        ]
    need = estimate(training, source(training, base, gpu).config(), gpu)
    return [
        *lines,
        *need.lines,
        "time       not known; the log tells the time left from the first step on",
    ]


def _lines_of_a_command(
    training: TrainingConfig, base: BaseModel, store: Store, chats: ChatRows | None
) -> list[str]:
    """Say what is known of a training by a command: its rows, and whether it is stored."""
    lines = [
        f"base       {training.base_model} ({base.identity[:19]}...)",
        f"training   by training.command: {shown(own_trainer.command_words(training))}",
        "time       not known, nor are steps, memory and disk: the command decides them",
    ]
    if chats is None:
        return lines
    prepared = own_trainer.prepare(training, base, chats)
    found = store.find(prepared.spec)
    return [*lines, f"model      {'Cached' if found else f'to train on {prepared.line}'}"]
