"""The tasks of an evaluation: answers, benchmarks, the leaderboard."""

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import asdict, replace
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed

from crowdselect_core.cluster import heldout_losses
from crowdselect_core.config.benchmarks import (
    CommandBenchmark,
    HeldoutLossBenchmark,
    LmEvalBenchmark,
    RewardWinRateBenchmark,
)
from crowdselect_core.config.engine import EngineConfig, OpenAIEngineConfig, VllmEngineConfig
from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.config.evaluation import JUDGED, BenchmarkConfig, JudgeConfig, required
from crowdselect_core.config.finetune import required as required_training
from crowdselect_core.evaluate import answers as core_answers
from crowdselect_core.evaluate import (
    candidate_engine,
    engine_check,
    forecast,
    leaderboard,
    out_files,
    training_overlap,
)
from crowdselect_core.evaluate import candidates as core_candidates
from crowdselect_core.evaluate.benchmarks.command import Command
from crowdselect_core.evaluate.benchmarks.factory import open_benchmark
from crowdselect_core.evaluate.benchmarks.lm_eval import LmEval
from crowdselect_core.evaluate.benchmarks.reward_win_rate import RewardWinRate
from crowdselect_core.evaluate.candidates import Candidate
from crowdselect_core.evaluate.judging import calibration
from crowdselect_core.evaluate.judging.calibration import Calibration
from crowdselect_core.evaluate.judging.judge import judge_engine
from crowdselect_core.evaluate.live import Benchmark, Tools
from crowdselect_core.evaluate.tally import Outcome
from crowdselect_core.generate.factory import check_all
from crowdselect_core.planning.evaluation_forecast import drawn_prompts, evaluation_bills
from crowdselect_core.report.leaderboard import as_lines, as_markdown
from crowdselect_core.stages.refs import Ref
from crowdselect_core.store.artifacts import Store
from tasks import cancellation
from tasks.crowd import device_tags, one_device, some_devices
from tasks.crowd import tags as reward_tags
from tasks.progress import shown
from tasks.secrets import secret
from tasks.stage_task import OPTIONS, state_task

log = logging.getLogger("crowdselect")


@state_task("leaderboard")
def compute(config: EvaluateConfig) -> State[dict[str, Any]]:
    """Compute the results from the judgment files and write OUT/leaderboard.parquet."""
    cancellation.check()
    board = leaderboard.compute(config)
    cancellation.check()
    return _written(config, board.table, board.notes)


@state_task("check-evaluation")
def check(config: EvaluateConfig, trained: str | None) -> State[None]:
    """Check the benchmarks, OUT, the cost, and that judges can be reached, before the training.

    Args:
        config: the resolved config.
        trained: the key of the trained model where the store has it.
    """
    opened = _opened(config)
    out_files.check_replaceable(config.out, [b.name for b in opened])
    found = core_candidates.candidates(config, Store(config.store), trained)
    whole = core_candidates.expected(config, found)
    for benchmark in opened:
        benchmark.check(config, whole)
    _check_bills(config, opened, found)
    return Completed(message="the benchmarks can be run", data=None)


@state_task("models")
def models(config: EvaluateConfig, trained: Ref | None) -> State[list[Candidate]]:
    """Name the models that are evaluated, look at the cost again, and claim the folders in OUT."""
    key = trained.key if trained is not None else None
    found = core_candidates.candidates(config, Store(config.store), key)
    opened = _opened(config)
    _check_bills(config, opened, found)
    out_files.begin(config.out, [b.name for b in opened])
    return Completed(message=", ".join(m.name for m in found), data=found)


@state_task("overlaps")
def overlaps(config: EvaluateConfig, data: Ref | None, heldout: Ref | None) -> State[list[str]]:
    """Count the training rows that overlap the prompts of a benchmark, or held-out ones."""
    cancellation.check()
    store, training = Store(config.store), required_training(config.training)
    selected = None if data is None else data.open(store).frame()
    _, texts = training_overlap.trained_prompts(training, selected)
    opened = _opened(config)
    asked = [(b.name, training_overlap.turns_of(b.questions)) for b in opened]
    inside = {b.name: b.file_prompts() for b in opened if isinstance(b, LmEval)}
    inside |= {b.name: None for b in opened if isinstance(b, Command)}
    asked += [(name, prompts) for name, prompts in inside.items() if prompts is not None]
    if heldout is not None:
        frame = heldout.open(store).frame(["messages"])
        asked.append(("held-out rows", training_overlap.prompts_of(frame)))
    notes = training_overlap.overlap_notes(texts, asked)
    unknown = [name for name, prompts in inside.items() if prompts is None]
    notes += [training_overlap.unknown_note(name) for name in unknown]
    for note in notes:
        log.warning("%s", note)
    return Completed(message="; ".join(notes) or "no training row overlaps", data=notes)


@state_task("answers")
def answers(config: EvaluateConfig, model: Candidate) -> State[int]:
    """Have one model answer the questions of all benchmarks; stored answers are not asked for."""
    cancellation.check()
    questions = [question for benchmark in _opened(config) for question in benchmark.questions]
    calls = core_answers.answer(questions, model, tools_of(config))
    words = f"{calls.answered:,} answers, {calls.cached:,} cached"
    log.info("%-13s %s: %s", "answers", model.name, words)
    if not calls.answered:
        return Completed(name="Cached", message=words, data=0)
    return Completed(message=words, data=calls.answered)


@state_task("calibrate")
def calibrate(config: EvaluateConfig, judge: JudgeConfig) -> State[Calibration]:
    """Have a judge compare pairs of answers of known order."""
    cancellation.check()
    pairs = required(config.evaluation).calibration
    found = calibration.calibrate(judge, pairs, tools_of(config))
    (log.info if found.accuracy >= found.least else log.warning)("%s", found.note)
    return Completed(message=found.note, data=found)


@state_task("benchmark")
def benchmark(
    config: EvaluateConfig,
    benchmark: BenchmarkConfig,
    models: list[Candidate],
    stages: list[Ref],
    snapshots: dict[str, str],
) -> State[Outcome]:
    """Measure the models by one benchmark; stored verdicts and results are not computed again.

    Args:
        config: the resolved config.
        benchmark: what is measured by.
        models: all of them.
        stages: the artifacts of the run.
        snapshots: the models that the judges' servers reported so far, by judge.
    """
    cancellation.check()
    opened = open_benchmark(benchmark, config)
    tools = replace(tools_of(config, stages), snapshots=snapshots)
    if heldout_losses.spreads(config, benchmark):
        heldout_losses.compute(config, benchmark, models, stages, cancellation.check)
        tools = replace(tools, lent=_nothing)  # what the workers stored is read
    outcome = opened.run(models, tools)
    log.info("%-13s %s: %s results", "benchmark", opened.name, f"{len(outcome.results):,}")
    return Completed(message=f"{len(outcome.results)} results", data=outcome)


@state_task("leaderboard")
def board(
    config: EvaluateConfig,
    outcomes: list[tuple[str, Outcome]],
    calibrations: list[Calibration],
    warned: list[str],
) -> State[dict[str, Any]]:
    """Write the results of all benchmarks to OUT/leaderboard.parquet and OUT/evaluation.json."""
    by_name: dict[str, Outcome] = {}
    for name, outcome in outcomes:  # MT-Bench may stand twice, graded and in pairs
        before = by_name.get(name, Outcome([]))
        by_name[name] = Outcome(
            [*before.results, *outcome.results], [*before.notes, *outcome.notes]
        )
    reported = [outcome.snapshots for _, outcome in outcomes]
    reported += [{c.judge: c.snapshot} for c in calibrations if c.snapshot is not None]
    snapshots = leaderboard.one_snapshot(reported)
    notes = [*warned, *(c.note for c in calibrations)]
    notes += [note for outcome in by_name.values() for note in outcome.notes]
    notes = list(dict.fromkeys(notes))
    told = {"judges": snapshots, "calibration": [asdict(c) for c in calibrations], "notes": notes}
    written = _written(config, leaderboard.table_of(by_name), notes)
    out_files.end(config.out, list(by_name), told)
    return written


@task(name="publish-leaderboard", **OPTIONS)
def publish(markdown: str) -> None:
    """Show the leaderboard as an artifact in the Prefect UI."""
    create_markdown_artifact(
        markdown, key="leaderboard", description="Every result, with intervals"
    )


def calibrated(config: EvaluateConfig) -> list[JudgeConfig]:
    """Return the judges that are calibrated: all that a benchmark asks."""
    evaluation = required(config.evaluation)
    judged = any(isinstance(b, JUDGED) for b in evaluation.benchmarks)
    return evaluation.judges if judged and evaluation.calibration else []


def tags(config: EvaluateConfig, model: Candidate) -> list[str]:
    """Return the tags of a model's task: its engine, and `gpu` where it takes this machine's."""
    engine = candidate_engine.engine_config(model, required(config.evaluation))
    if isinstance(engine, OpenAIEngineConfig):
        return [f"engine-{engine.kind}"]
    return [f"engine-{engine.kind}", *device_tags()[1:]]


def _opened(config: EvaluateConfig) -> list[Benchmark]:
    return [open_benchmark(b, config) for b in required(config.evaluation).benchmarks]


def _check_bills(
    config: EvaluateConfig, benchmarks: Sequence[Benchmark], models: Sequence[Candidate]
) -> None:
    """Refuse a bill that is too high; look whether the models and judges of it are there."""
    evaluation, tools = required(config.evaluation), tools_of(config)
    bills = evaluation_bills(benchmarks, models, tools, drawn_prompts(config))
    forecast.refuse_above(bills, evaluation.max_cost)
    asked = [
        judge
        for judge in evaluation.judges
        if any(b.requests and b.judge == judge.name for b in bills)
    ]
    answering = {b.name for b in bills if b.what == "answers" and b.requests}
    whole = core_candidates.expected(config, models)
    answering.update(
        name for b in benchmarks if isinstance(b, LmEval) for name in b.asked(whole, tools)
    )
    found = engine_check.engines(whole, answering, tools)
    judges = {f"judge {judge.name}": judge_engine(judge, secret) for judge in asked}
    check_all({f"model {name}": engine for name, engine in found.items()} | judges)
    grades = {b.grades for b in bills if b.grades is not None and b.requests}
    for grader in engine_check.graders(benchmarks, grades, tools).values():
        with closing(grader):
            grader.check()


def judge_tags(judge: JudgeConfig) -> list[str]:
    """Return the tags of a judge's task: its engine, and `gpu` where it takes this machine's."""
    own = [f"engine-{judge.engine.kind}"]
    return own if isinstance(judge.engine, OpenAIEngineConfig) else [*own, *device_tags()[1:]]


def benchmark_tags(config: EvaluateConfig, benchmark: BenchmarkConfig) -> list[str]:
    """Return the tags of a benchmark's task: what it runs, and `gpu` where that takes a device."""
    if heldout_losses.spreads(config, benchmark):
        return ["engine-ray"]
    if isinstance(benchmark, HeldoutLossBenchmark | LmEvalBenchmark | CommandBenchmark):
        return device_tags()
    evaluation = required(config.evaluation)
    if not isinstance(benchmark, RewardWinRateBenchmark):
        return list(dict.fromkeys(t for judge in evaluation.judges for t in judge_tags(judge)))
    run = open_benchmark(benchmark, config)
    owner = run.reward if isinstance(run, RewardWinRate) else None
    found = device_tags() if benchmark.path is None else []  # it has the models answer itself
    return list(dict.fromkeys([*found, *(reward_tags(owner) if owner is not None else [])]))


def tools_of(config: EvaluateConfig, stages: list[Ref] | None = None) -> Tools:
    """Return what the work of a benchmark needs of this run."""
    return Tools(
        config=config,
        store=Store(config.store),
        secret=secret,
        lent=_lent,
        shown=shown,
        stopped=cancellation.asked,
        check=cancellation.check,
        artifacts={ref.stage: ref.key for ref in stages or []},
    )


def _nothing(engine: EngineConfig | None, name: str) -> AbstractContextManager[list[str]]:
    return nullcontext([])


def _lent(engine: EngineConfig | None, name: str) -> AbstractContextManager[list[str]]:
    if isinstance(engine, OpenAIEngineConfig):
        return nullcontext([])
    if isinstance(engine, VllmEngineConfig):
        return some_devices(engine.gpus, name)
    return one_device(name)


def _written(config: EvaluateConfig, table: Any, notes: list[str]) -> State[dict[str, Any]]:
    """Write the leaderboard, and return what is shown of it."""
    leaderboard.write(config.out, table)
    log.info("%-13s %s results, written to %s", "leaderboard", f"{table.height:,}", config.out)
    result = {
        "lines": as_lines(table, notes, config.official),
        "markdown": as_markdown(table, notes, config.official),
        "files": [leaderboard.FILE],
    }
    return Completed(message=f"written to {config.out}", data=result)
