"""Answers of evaluated models on a Ray cluster: a model is a call, whose worker stores them.

The questions go with the call, so that no node needs their files; the answers go into the store.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field

from crowdselect_core.cluster import worker
from crowdselect_core.cluster.calls import Call, Calls
from crowdselect_core.cluster.refusals import SHARED
from crowdselect_core.config.engine import EngineConfig, OpenAIEngineConfig, VllmEngineConfig
from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.errors import StorageError, TransientStorageError
from crowdselect_core.evaluate import answers
from crowdselect_core.evaluate.candidate_engine import engine_config
from crowdselect_core.evaluate.candidates import Candidate
from crowdselect_core.evaluate.live import Question, Tools
from crowdselect_core.generate.call_tracker import CallTracker
from crowdselect_core.store.executors.base import Needs

STAGE = "benchmark-answers"
LOOK = 15.0  # seconds between two counts of what the worker has stored


def spreads(config: EvaluateConfig, engine: EngineConfig) -> bool:
    """Tell whether what an engine runs answers in a worker of a cluster."""
    return config.executor.kind == "ray" and not isinstance(engine, OpenAIEngineConfig)


def needs(engine: EngineConfig) -> Needs:
    """Return what a model that answers takes of a node."""
    if isinstance(engine, VllmEngineConfig):
        return Needs(gpu=True, gpus=engine.gpus)
    device = getattr(engine, "device", None)
    return Needs(gpu=device is None or device.startswith("cuda"))


def answer(questions: Sequence[Question], model: Candidate, tools: Tools) -> CallTracker:
    """Have a worker answer what the store has no answer to; see `evaluate.answers.answer`.

    Args:
        questions: of all benchmarks.
        model: with weights that every node can read.
        tools: of the run.

    Raises:
        TooManyFailures: more calls failed than may; the answers that came are stored.
        UserError: the model cannot be run.
        StorageError: the worker wrote into another store.
        ConfigError, WorkerLost: see `Calls`.
    """
    engine = engine_config(model, tools.evaluation)
    turns = sum(len(question.turns) for question in questions)
    missing = answers.missing(questions, model, tools)
    with tools.shown("answers", model.name) as report:
        calls = CallTracker(
            model.name, missing, turns - missing, tools.config.max_failure_rate, report
        )
        report(calls)
        if missing:
            count = _Count(calls, lambda: answers.missing(questions, model, tools), tools.check)
            remote = Calls(STAGE, tools.config.executor, needs(engine), count)
            for call, outcome in remote.run([_call(questions, model, engine, tools)]):
                told = outcome.value(call.name)
                count.now()  # a worker that was lost had stored some, too
                if told["answered"] and not calls.answered:
                    raise StorageError(
                        f"{tools.config.store}: the answers that Ray node {outcome.node} stored "
                        f"are not there; {SHARED}"
                    )
                failed = {bytes.fromhex(key): error for key, error in told["failed"].items()}
                calls.add(0, told["codes"], failed)
        return calls


def _call(
    questions: Sequence[Question], model: Candidate, engine: EngineConfig, tools: Tools
) -> Call:
    config = tools.config.model_dump_json(include=set(EvaluateConfig.model_fields))
    request = worker.request(
        STAGE,
        tools.config.store,
        config=config,
        model=model.model_dump_json(),
        trained=model.key,
        engine=engine.model_dump_json(),
        questions=[asdict(question) for question in questions],
    )
    return Call(0, f"answers of {model.name}", request)


@dataclass
class _Count:
    """Looks whether the run is to stop, and now and then at what the worker has stored.

    Args:
        calls: shows the progress.
        missing: counts the answers that the store has not.
        check: raises if the run is to stop.
    """

    calls: CallTracker
    missing: Callable[[], int]
    check: Callable[[], None]
    _looked: float = field(default_factory=time.monotonic)

    def __call__(self) -> None:
        self.check()
        if time.monotonic() - self._looked < LOOK:
            return
        with suppress(TransientStorageError):  # it is for display, and there will be another
            self.now()

    def now(self) -> None:
        """Count the answers that have come."""
        self._looked = time.monotonic()
        self.calls.answered = self.calls.planned - self.missing()
        self.calls.report(self.calls)
