"""The tasks of an evaluation: checks, answers, judges, benchmarks."""

import logging
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from prefect.client.schemas.objects import State
from prefect.states import Completed

from crowdselect_core.cluster import benchmark_answers, heldout_losses
from crowdselect_core.config.engine import EngineConfig
from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.config.evaluation import BenchmarkConfig, JudgeConfig, required
from crowdselect_core.config.finetune import required as required_training
from crowdselect_core.evaluate import answers as core_answers
from crowdselect_core.evaluate import candidates as core_candidates
from crowdselect_core.evaluate import out_files, training_overlap
from crowdselect_core.evaluate.benchmarks.factory import open_benchmark
from crowdselect_core.evaluate.candidates import Candidate
from crowdselect_core.evaluate.judging import calibration
from crowdselect_core.evaluate.judging.calibration import Calibration
from crowdselect_core.evaluate.live import Benchmark, Tools
from crowdselect_core.evaluate.tally import Outcome
from crowdselect_core.planning.evaluation_check import check_bills
from crowdselect_core.stages.refs import Ref
from crowdselect_core.store.artifacts import Store
from tasks import cancellation
from tasks.devices import lent_to_engine
from tasks.progress import shown
from tasks.secrets import secret
from tasks.stage_task import state_task

log = logging.getLogger("crowdselect")


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
    check_bills(opened, found, tools_of(config))
    return Completed(message="the benchmarks can be run", data=None)


@state_task("models")
def models(config: EvaluateConfig, trained: Ref | None) -> State[list[Candidate]]:
    """Name the models that are evaluated, look at the cost again, and claim the folders in OUT."""
    key = trained.key if trained is not None else None
    found = core_candidates.candidates(config, Store(config.store), key)
    opened = _opened(config)
    check_bills(opened, found, tools_of(config))
    out_files.begin(config.out, [b.name for b in opened])
    return Completed(message=", ".join(m.name for m in found), data=found)


@state_task("overlaps")
def overlaps(config: EvaluateConfig, data: Ref | None, heldout: Ref | None) -> State[list[str]]:
    """Count the training rows that overlap the prompts of a benchmark, or held-out ones."""
    cancellation.check()
    store, training = Store(config.store), required_training(config.training)
    selected = None if data is None else data.open(store).frame()
    held = None if heldout is None else heldout.open(store).frame(["messages"])
    notes = training_overlap.notes_on(training, selected, _opened(config), held)
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


def _opened(config: EvaluateConfig) -> list[Benchmark]:
    return [open_benchmark(b, config) for b in required(config.evaluation).benchmarks]


def tools_of(config: EvaluateConfig, stages: list[Ref] | None = None) -> Tools:
    """Return what the work of a benchmark needs of this run."""
    return Tools(
        config=config,
        store=Store(config.store),
        secret=secret,
        lent=lent_to_engine,
        shown=shown,
        stopped=cancellation.asked,
        check=cancellation.check,
        artifacts={ref.stage: ref.key for ref in stages or []},
        elsewhere=benchmark_answers.answer if config.executor.kind == "ray" else None,
    )


def _nothing(engine: EngineConfig | None, name: str) -> AbstractContextManager[list[str]]:
    return nullcontext([])
