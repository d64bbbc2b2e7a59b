"""The benchmark command: a program of the user's measures every model."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from crowdselect_core.config.benchmarks import CommandBenchmark
from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.evaluate import command_benchmark
from crowdselect_core.evaluate.benchmarks.local_models import local_models
from crowdselect_core.evaluate.benchmarks.steps import laid_out
from crowdselect_core.evaluate.candidates import Candidate
from crowdselect_core.evaluate.live import Question, Tools
from crowdselect_core.evaluate.result_cells import Measured, as_results
from crowdselect_core.evaluate.sources import folder_of
from crowdselect_core.evaluate.tally import Outcome, Result


class Command:
    """What a command prints of every model; each model is measured once."""

    questions: Sequence[Question] = ()

    def __init__(self, config: CommandBenchmark) -> None:
        self.name = config.name or config.kind
        self._config, self._where = config, command_benchmark.where(config)

    def check(self, config: EvaluateConfig, models: Sequence[Candidate]) -> None:
        """Find out whether the command may and can run here.

        Raises:
            ConfigError: it may not, or there is no such program.
        """
        command_benchmark.check(self._config)

    def run(self, models: Sequence[Candidate], tools: Tools) -> Outcome:
        """Run the command on every model that it has not measured.

        Raises:
            UserError: it failed, or printed no results.
        """
        local, notes = local_models(self._where, models)
        results: list[Result] = []
        for model in local:
            cells = command_benchmark.cells(tools.store, self._config, str(model.weights))
            found = cells.find("")
            if found is None:
                found = self._measured(model, tools)
                cells.keep("", found)
            results += as_results(model.name, found)
        return Outcome(results, notes)

    def _measured(self, model: Candidate, tools: Tools) -> list[Measured]:
        with (
            laid_out(self.name, model, tools) as weights,
            TemporaryDirectory(prefix="crowdselect-command-") as work,
        ):
            weights.count(0, 1)
            return command_benchmark.measure(
                self._config,
                model.name,
                folder_of(self._where, weights.source),
                Path(work),
                tools.check,
                weights.gpus,
            )
