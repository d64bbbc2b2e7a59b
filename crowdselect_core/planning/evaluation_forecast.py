"""What an evaluation would do: training, questions, answers, verdicts, tokens, money."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

from crowdselect_core.chat import Message
from crowdselect_core.cluster import benchmark_answers
from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.config.finetune import required
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.evaluate import answers, forecast
from crowdselect_core.evaluate.benchmarks.factory import open_benchmark
from crowdselect_core.evaluate.candidate_engine import engine_config
from crowdselect_core.evaluate.candidates import Candidate, candidates, expected
from crowdselect_core.evaluate.leaderboard import judgment_files
from crowdselect_core.evaluate.live import Benchmark, Question, Report, Tools
from crowdselect_core.generate.base import never
from crowdselect_core.generate.factory import Secret
from crowdselect_core.planning import heldout
from crowdselect_core.planning.dry_run import Planner
from crowdselect_core.planning.heldout_cost import heldout_bills
from crowdselect_core.planning.missing_work import find_missing, without_missing
from crowdselect_core.planning.training_forecast import Story, training_forecast
from crowdselect_core.stages.base import Runner
from crowdselect_core.stages.refs import Ref
from crowdselect_core.store.artifacts import Store


def evaluation_forecast(config: EvaluateConfig, story: Story, secret: Secret) -> list[str]:
    """Say what an evaluation would do; nothing is computed, asked or written.

    Args:
        config: the resolved config.
        story: the stages of the selection in their order.
        secret: from a block's name to the key that it holds.

    Raises:
        UserError: whatever the run itself would refuse before its first step.
    """
    if config.judgments is not None:
        files = judgment_files(config)
        return [
            f"judgments  {config.judgments}: {len(files):,} files; no model is asked",
            f"out        {config.out}",
        ]
    lines, trained = _training(config, story)
    tools = quiet_tools(config, secret)
    benchmarks = [open_benchmark(b, config) for b in tools.evaluation.benchmarks]
    models = candidates(config, tools.store, trained)
    for benchmark in benchmarks:
        benchmark.check(config, expected(config, models))
    drawn = drawn_prompts(config)
    questions: list[Question] = []
    for benchmark in benchmarks:
        own = forecast.asked(benchmark, drawn)
        questions += own
        turns = sum(len(q.turns) for q in own)
        asked = f"{len(own):,} questions, {turns:,} turns" if turns else "no answers"
        lines.append(f"benchmark  {benchmark.name}: {asked}")
    lines += _spread(questions, expected(config, models), tools)
    found = evaluation_bills(benchmarks, models, tools, drawn)
    lines += [bill.line for bill in found]
    money = sum(bill.money for bill in found)
    limit = tools.evaluation.max_cost
    lines.append(
        f"in all     {sum(b.requests for b in found):,} requests, {money:,.2f} at the configured "
        f"prices{'' if limit is None else f', max_cost {limit:,.2f}'}"
    )
    forecast.refuse_above(found, limit)
    return lines


def _spread(
    questions: Sequence[Question], models: Sequence[Candidate], tools: Tools
) -> Iterator[str]:
    """Say which models have to answer on a Ray cluster; one that is to be trained has to."""
    for model in models:
        engine = engine_config(model, tools.evaluation)
        if not questions or not benchmark_answers.spreads(tools.config, engine):
            continue
        if model.is_pending or answers.missing(questions, model, tools):
            yield f"answers    {model.name}: on the Ray cluster, one task"


def evaluation_bills(
    benchmarks: Sequence[Benchmark],
    models: Sequence[Candidate],
    tools: Tools,
    drawn: Sequence[Sequence[Message]],
) -> list[forecast.Bill]:
    """Forecast all that an evaluation pays for; see `forecast.bills`."""
    return [*heldout_bills(tools.config), *forecast.bills(benchmarks, models, tools, drawn)]


def drawn_prompts(config: EvaluateConfig) -> list[tuple[Message, ...]]:
    """Check the key `heldout` where a benchmark needs it, and return the prompts that it asks.

    Raises:
        UserError: nothing can be held out by it, or nobody can give the answers.
    """
    if not config.needs_heldout:
        return []
    missing = find_missing(config)
    heldout.check(config, missing)
    if config.needs_heldout_answers and not config.selects:
        heldout.check_best(config, missing)
    drawn = heldout.heldout_prompts(without_missing(config, missing))
    return drawn if config.asks_heldout else []


def quiet_tools(config: EvaluateConfig, secret: Secret) -> Tools:
    """Return tools for a look: nothing is lent or shown."""

    @contextmanager
    def shown(step: str, name: str) -> Iterator[Report]:
        yield lambda calls: None

    return Tools(
        config=config,
        store=Store(config.store),
        secret=secret,
        lent=lambda engine, name: nullcontext([]),
        shown=shown,
        stopped=never,
        check=lambda: None,
    )


def _training(config: EvaluateConfig, story: Story) -> tuple[list[str], str | None]:
    """Return the forecast of the training, and the key of the model where it is stored."""
    if not config.trains:
        return [f"store      {config.store}", f"out        {config.out}"], None
    made: list[Ref] = []

    def watched(config: SelectConfig, run: Runner) -> Ref:
        made.append(story(config, run))
        return made[-1]

    return training_forecast(config, watched), trained_key(config, made)


def stored_model(config: EvaluateConfig, story: Story) -> str | None:
    """Return the key of the trained model where the store has it; nothing is computed.

    The config has been checked. Of a selection whose crowd is live it is known only once the
    answers and scores are made.

    Args:
        config: the resolved config.
        story: the stages of the selection in their order.

    Raises:
        UserError: the rows cannot be read, or the base model is not there.
    """
    if not config.trains:
        return None
    if not config.selects:
        return trained_key(config, [])
    if find_missing(config):
        return None
    return trained_key(config, [story(config, Planner(Store(config.store)))])


def trained_key(config: EvaluateConfig, made: list[Ref]) -> str | None:
    """Return the key of the model that is trained on a selection or its pairs, if it is stored.

    Args:
        config: resolved.
        made: what it is trained on; empty for training.train_file.
    """
    from crowdselect_core.finetune import own_trainer
    from crowdselect_core.finetune.base_model import base_model
    from crowdselect_core.finetune.data import rows_of
    from crowdselect_core.finetune.recipe import has_gpu
    from crowdselect_core.finetune.training import prepare

    training, store = required(config.training), Store(config.store)
    known = [ref for ref in made if ref.is_computed]
    if training.train_file is None and not known:
        return None
    rows = rows_of(training, known[0].open(store).frame() if known else None)
    base = base_model(training)
    if training.command is not None:
        spec = own_trainer.prepare(training, base, rows).spec
    else:
        spec = prepare(training, base, rows, has_gpu()).spec
    found = store.find(spec)
    return found.key if found else None
