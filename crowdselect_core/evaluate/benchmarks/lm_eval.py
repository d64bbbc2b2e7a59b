"""The benchmark lm-eval: tasks of lm-evaluation-harness on every model."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from crowdselect_core.config.benchmarks import LmEvalBenchmark
from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.config.evaluation import required
from crowdselect_core.errors import ConfigError
from crowdselect_core.evaluate import lm_eval_tasks
from crowdselect_core.evaluate.answers import price_of
from crowdselect_core.evaluate.benchmarks.steps import laid_out
from crowdselect_core.evaluate.candidates import Candidate
from crowdselect_core.evaluate.live import Question, Tools
from crowdselect_core.evaluate.lm_eval_answers import EngineAnswers, engine_identity
from crowdselect_core.evaluate.lm_eval_process import ASKED
from crowdselect_core.evaluate.lm_eval_results import refusals
from crowdselect_core.evaluate.lm_eval_run import HarnessModel, where
from crowdselect_core.evaluate.result_cells import Measured, as_results
from crowdselect_core.evaluate.tally import Outcome, Result
from crowdselect_core.quality.benchmark_prompts import read_benchmarks


class LmEval:
    """Tasks of lm-eval, each run once on a model.

    Weights that are here lm-eval runs by transformers. For an endpoint, and with `use_engine` for
    all, the model's engine answers what the tasks ask.
    """

    questions: Sequence[Question] = ()

    def __init__(self, config: LmEvalBenchmark) -> None:
        self.name = config.name or config.kind
        self._config, self._where = config, where(config)

    def check(self, config: EvaluateConfig, models: Sequence[Candidate]) -> None:
        """Find out whether lm-eval and the folders are there.

        Raises:
            ConfigError: they are not; or a model is paid for and max_cost is set, for what the
                tasks ask is not known beforehand.
        """
        lm_eval_tasks.check(self._config)
        evaluation = required(config.evaluation)
        for model in models:
            if evaluation.max_cost is None or not self._is_asked(model):
                continue
            price = price_of(model, evaluation)
            if price.input or price.output:
                raise ConfigError(
                    f"{self._where}: how much {model.name} is asked is not known beforehand, and "
                    "evaluation.max_cost is set: leave max_cost, the model or its price out"
                )

    def asked(self, models: Sequence[Candidate], tools: Tools) -> list[str]:
        """Return the models whose engine still has to answer, those to be trained included."""
        return [
            m.name
            for m in models
            if self._is_asked(m) and (m.is_pending or self._stored(m, tools) is None)
        ]

    def run(self, models: Sequence[Candidate], tools: Tools) -> Outcome:
        """Run the tasks that the store has no results of.

        Raises:
            UserError: lm-eval has no such task, or fails.
        """
        results: list[Result] = []
        notes: list[str] = []
        for model in models:
            found = self._stored(model, tools) or self._measured(model, tools)
            results += as_results(model.name, found)
            notes += refusals(self.name, model.name, found)
        return Outcome(results, notes)

    def file_prompts(self) -> list[str] | None:
        """Return the prompts of data_files; None where they are not known.

        A task without a file has lm-eval's own; in a file, only the task knows which columns make
        a prompt, and those of some have none of the usual names.
        """
        if set(self._config.data_files) != set(self._config.tasks):
            return None
        files = [f for by in self._config.files_by_split.values() for f in by.values()]
        try:
            return [prompt.text for prompt in read_benchmarks(files)]
        except ConfigError:  # the note of the overlaps says that these were not compared
            return None

    def _is_asked(self, model: Candidate) -> bool:
        return self._config.use_engine or (model.weights is None and not model.is_pending)

    def _identity(self, model: Candidate, tools: Tools) -> dict[str, Any]:
        if self._is_asked(model):
            return engine_identity(model, tools)
        return lm_eval_tasks.local_identity(self._config, str(model.weights))

    def _stored(self, model: Candidate, tools: Tools) -> list[Measured] | None:
        identity = self._identity(model, tools)
        return lm_eval_tasks.stored(tools.store, self._config, identity, model.system_prompt)

    def _measured(self, model: Candidate, tools: Tools) -> list[Measured]:
        measure = self._by_engine if self._is_asked(model) else self._by_transformers
        with TemporaryDirectory(prefix="crowdselect-lm-eval-") as work:
            return measure(model, tools, Path(work))

    def _by_engine(self, model: Candidate, tools: Tools, work: Path) -> list[Measured]:
        with (
            tools.shown(self.name, model.name) as report,
            closing(EngineAnswers(self._where, model, tools, report)) as answers,
        ):
            whole = HarnessModel(
                model.name, self._identity(model, tools), ASKED, {}, answers=answers,
                system_prompt=model.system_prompt,
            )  # fmt: skip
            return lm_eval_tasks.measure(
                tools.store, self._config, whole, work, lambda done, of: tools.check()
            )

    def _by_transformers(self, model: Candidate, tools: Tools, work: Path) -> list[Measured]:
        with laid_out(self.name, model, tools, merged=False) as weights:
            whole = lm_eval_tasks.hf_model(
                self._config,
                model.name,
                str(model.weights),
                weights.source.model,
                weights.source.revision,
                weights.adapter,
                weights.gpus,
                model.system_prompt,
            )
            return lm_eval_tasks.measure(tools.store, self._config, whole, work, weights.count)
