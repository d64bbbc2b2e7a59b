"""Held-out losses on a Ray cluster: a model is a call, whose worker stores the losses.

The driver reads them from the store afterwards, as those of an earlier run.
"""

from collections.abc import Callable, Sequence

from crowdselect_core.cluster import worker
from crowdselect_core.cluster.calls import Call, Calls
from crowdselect_core.config.benchmarks import HeldoutLossBenchmark
from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.config.evaluation import BenchmarkConfig
from crowdselect_core.evaluate.candidates import Candidate
from crowdselect_core.stages.refs import Ref
from crowdselect_core.store.executors.base import Needs

STAGE = "heldout-loss"


def spreads(config: EvaluateConfig, benchmark: BenchmarkConfig) -> bool:
    """Tell whether a benchmark is computed by the workers of a cluster."""
    return config.executor.kind == "ray" and isinstance(benchmark, HeldoutLossBenchmark)


def compute(
    config: EvaluateConfig,
    benchmark: BenchmarkConfig,
    models: Sequence[Candidate],
    stages: Sequence[Ref],
    check: Callable[[], None],
) -> None:
    """Have workers compute the losses that the store lacks, of every model whose weights are known.

    Args:
        config: the resolved config.
        benchmark: a held-out loss.
        models: of the evaluation.
        stages: the artifacts of the run, the held-out rows among them.
        check: called once a second; what it raises ends the calls.

    Raises:
        UserError: whatever `heldout_loss.row_losses` raises of these.
        ConfigError, WorkerLost: see `Calls`.
    """
    what = {
        "config": config.model_dump_json(include=set(EvaluateConfig.model_fields)),
        "benchmark": benchmark.model_dump_json(),
        "artifacts": {ref.stage: ref.key for ref in stages},
        "trained": next((m.key for m in models if m.key is not None), None),
    }
    local = [model for model in models if model.weights is not None]
    requests = (
        Call(i, f"{STAGE} of {model.name}", worker.request(
            "heldout-loss", config.store, model=model.model_dump_json(), **what
        ))
        for i, model in enumerate(local)
    )  # fmt: skip
    for call, outcome in Calls(STAGE, config.executor, Needs(gpu=True), check).run(requests):
        outcome.value(call.name)
