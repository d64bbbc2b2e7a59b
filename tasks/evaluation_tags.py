"""The tags of an evaluation's tasks: by these a Prefect server can limit how many run at once."""

from crowdselect_core.cluster import benchmark_answers, heldout_losses
from crowdselect_core.config.benchmarks import (
    CommandBenchmark,
    HeldoutLossBenchmark,
    LmEvalBenchmark,
    RewardWinRateBenchmark,
)
from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.config.evaluation import BenchmarkConfig, JudgeConfig, required
from crowdselect_core.evaluate.benchmarks.factory import open_benchmark
from crowdselect_core.evaluate.benchmarks.reward_win_rate import RewardWinRate
from crowdselect_core.evaluate.candidate_engine import engine_config
from crowdselect_core.evaluate.candidates import Candidate
from tasks import devices

ON_RAY = ["engine-ray"]


def answer_tags(config: EvaluateConfig, model: Candidate) -> list[str]:
    """Return the tags of a model's task: its engine, and `gpu` where it takes this machine's."""
    engine = engine_config(model, required(config.evaluation))
    return ON_RAY if benchmark_answers.spreads(config, engine) else devices.engine_tags(engine)


def judge_tags(judge: JudgeConfig) -> list[str]:
    """Return the tags of a judge's task: its engine, and `gpu` where it takes this machine's."""
    return devices.engine_tags(judge.engine)


def benchmark_tags(config: EvaluateConfig, benchmark: BenchmarkConfig) -> list[str]:
    """Return the tags of a benchmark's task: what it runs, and `gpu` where that takes a device."""
    if heldout_losses.spreads(config, benchmark):
        return ON_RAY
    if isinstance(benchmark, HeldoutLossBenchmark | LmEvalBenchmark | CommandBenchmark):
        return devices.device_tags()
    evaluation = required(config.evaluation)
    if not isinstance(benchmark, RewardWinRateBenchmark):
        return list(dict.fromkeys(t for judge in evaluation.judges for t in judge_tags(judge)))
    run = open_benchmark(benchmark, config)
    owner = run.reward if isinstance(run, RewardWinRate) else None
    # without a file of answers it has the models answer itself
    here = benchmark.path is None and config.executor.kind == "threads"
    found = devices.device_tags() if here else []
    return list(dict.fromkeys([*found, *(devices.tags(owner) if owner is not None else [])]))
