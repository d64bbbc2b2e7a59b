"""The benchmark lm-eval: tasks of lm-evaluation-harness on every model."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from crowdselect_core.config.benchmarks import LmEvalBenchmark
from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.evaluate import lm_eval_tasks
from crowdselect_core.evaluate.benchmarks.local_models import local_models
from crowdselect_core.evaluate.benchmarks.steps import counted
from crowdselect_core.evaluate.candidates import Candidate, opened
from crowdselect_core.evaluate.live import Question, Tools
from crowdselect_core.evaluate.result_cells import Measured, as_results
from crowdselect_core.evaluate.tally import Outcome, Result


class LmEval:
    """Tasks that lm-eval runs by transformers; each is run once on a model."""

    questions: Sequence[Question] = ()

    def __init__(self, config: LmEvalBenchmark) -> None:
        self.name = config.name or config.kind
        self._config, self._where = config, lm_eval_tasks.where(config)

    def check(self, config: EvaluateConfig, models: Sequence[Candidate]) -> None:
        """Find out whether lm-eval and the folders are there.

        Raises:
            ConfigError: they are not.
        """
        lm_eval_tasks.check(self._config)

    def run(self, models: Sequence[Candidate], tools: Tools) -> Outcome:
        """Run the tasks that the store has no results of.

        Raises:
            UserError: lm-eval has no such task, or fails.
        """
        local, notes = local_models(self._where, models)
        results: list[Result] = []
        for model in local:
            found = lm_eval_tasks.stored(tools.store, self._config, str(model.weights))
            results += as_results(model.name, found or self._measured(model, tools))
        return Outcome(results, notes)

    def _measured(self, model: Candidate, tools: Tools) -> list[Measured]:
        with ExitStack() as stack:
            report = stack.enter_context(tools.shown(self.name, model.name))
            gpus = stack.enter_context(tools.lent(None, model.name))
            tools.check()
            source = stack.enter_context(opened(model, tools.store, merged=False))
            work = stack.enter_context(TemporaryDirectory(prefix="crowdselect-lm-eval-"))
            weights = model.base or source
            whole = lm_eval_tasks.hf_model(
                self._config,
                model.name,
                str(model.weights),
                weights.model,
                weights.revision,
                Path(source.model) if model.is_adapter else None,
                gpus,
            )
            told = counted(model.name, report)
            return lm_eval_tasks.measure(tools.store, self._config, whole, Path(work), told)
