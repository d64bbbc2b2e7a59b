"""The benchmark heldout-loss: the loss of every model on the held-out rows."""

from collections.abc import Sequence
from importlib.util import find_spec

from crowdselect_core.config.benchmarks import HeldoutLossBenchmark
from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.errors import ConfigError
from crowdselect_core.evaluate import heldout_loss, heldout_results
from crowdselect_core.evaluate.benchmarks import heldout
from crowdselect_core.evaluate.benchmarks.local_models import local_models
from crowdselect_core.evaluate.benchmarks.steps import laid_out
from crowdselect_core.evaluate.candidates import Candidate
from crowdselect_core.evaluate.heldout_loss import HeldOutAnswer, LossModel
from crowdselect_core.evaluate.heldout_results import Losses
from crowdselect_core.evaluate.live import Question, Tools
from crowdselect_core.evaluate.tally import Outcome
from crowdselect_core.models.devices import torch_device
from crowdselect_core.util.extras import install

MAX_LENGTH = 2048  # tokens, where neither the benchmark nor a training says anything


class HeldoutLoss:
    """Nats per answer token on the held-out rows."""

    questions: Sequence[Question] = ()

    def __init__(self, config: HeldoutLossBenchmark) -> None:
        self.name = config.name or config.kind
        self._config, self._where = config, f"evaluation.benchmarks, {self.name}"

    def check(self, config: EvaluateConfig, models: Sequence[Candidate]) -> None:
        """Find out whether the run has held-out rows with answers, and torch.

        Raises:
            ConfigError: it has not.
        """
        heldout.check(self._where, config, answers=True)
        for package in ("torch", "transformers"):
            if find_spec(package) is None:
                raise ConfigError(
                    f"{self._where}: needs {package}, which is not installed: {install('models')}"
                )

    def run(self, models: Sequence[Candidate], tools: Tools) -> Outcome:
        """Return the losses of all models that run here.

        Raises:
            UserError: no held-out row has an answer, a model cannot be loaded, or its loss is not
                finite.
        """
        rows, without = heldout.answered_rows(self._where, tools, self._config.limit)
        local, notes = local_models(self._where, models)
        losses = {model.name: self._losses(model, rows, tools) for model in local}
        if without:
            notes.append(f"{self.name}: {without:,} held-out rows have no answer and are left out")
        outcome = heldout_results.evaluate(losses, tools.config.seed)
        return Outcome(outcome.results, [*notes, *outcome.notes])

    def _losses(self, model: Candidate, rows: Sequence[HeldOutAnswer], tools: Tools) -> Losses:
        training = tools.config.training
        longest = self._config.max_length or (training.max_length if training else MAX_LENGTH)
        with laid_out(self.name, model, tools, merged=False) as weights:
            whole = LossModel(
                model.name,
                str(model.weights),
                weights.source.model,
                weights.source.revision,
                weights.adapter,
                self._config.dtype,
                torch_device(weights.gpus) or "cpu",
            )
            return heldout_loss.row_losses(tools.store, whole, rows, longest, weights.count)
