"""From the config of a benchmark to what runs it."""

from crowdselect_core.config.benchmarks import (
    CommandBenchmark,
    HeldoutLossBenchmark,
    LmEvalBenchmark,
    RewardWinRateBenchmark,
)
from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.config.evaluation import (
    ArenaHardBenchmark,
    BenchmarkConfig,
    MtBenchBenchmark,
    PairwiseBenchmark,
)
from crowdselect_core.evaluate.live import Benchmark


def open_benchmark(benchmark: BenchmarkConfig, config: EvaluateConfig) -> Benchmark:
    """Return what runs a benchmark; its files are read, nothing is asked.

    Args:
        benchmark: one of evaluation.benchmarks.
        config: of the run.

    Raises:
        UserError: its files are missing, or of another benchmark or version.
    """
    match benchmark:
        case MtBenchBenchmark():
            from crowdselect_core.evaluate.benchmarks.mt_bench import MtBench

            return MtBench(benchmark, config)
        case ArenaHardBenchmark():
            from crowdselect_core.evaluate.benchmarks.arena_hard import ArenaHard

            return ArenaHard(benchmark, config)
        case PairwiseBenchmark():
            from crowdselect_core.evaluate.benchmarks.pairwise import Pairwise

            return Pairwise(benchmark, config)
        case HeldoutLossBenchmark():
            from crowdselect_core.evaluate.benchmarks.heldout_loss import HeldoutLoss

            return HeldoutLoss(benchmark)
        case RewardWinRateBenchmark():
            from crowdselect_core.evaluate.benchmarks.reward_win_rate import RewardWinRate

            return RewardWinRate(benchmark, config)
        case LmEvalBenchmark():
            from crowdselect_core.evaluate.benchmarks.lm_eval import LmEval

            return LmEval(benchmark)
        case CommandBenchmark():
            from crowdselect_core.evaluate.benchmarks.command import Command

            return Command(benchmark)
