"""ORPO by TRL's ORPOTrainer, with its loss of SFT on the answers alone.

The loss of a pair is -a - beta * log sigmoid(logit(exp a) - logit(exp b)), a and b the mean log p
of a token of the chosen and of the rejected answer (Hong et al. 2024, eq. 3 to 7; beta is their
lambda); there is no reference model. TRL's own takes the first term over the prompt too.
"""

import math
import warnings
from pathlib import Path
from typing import Any

from trl.import_utils import TRLExperimentalWarning

with warnings.catch_warnings():  # constraints.txt pins TRL
    warnings.simplefilter("ignore", TRLExperimentalWarning)
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer
    from trl.experimental.utils import DPODataCollatorWithPadding

from crowdselect_core.config.finetune import TrainingConfig
from crowdselect_core.finetune.trainers import common
from crowdselect_core.finetune.trainers.common import NO_ROW, Setup
from crowdselect_core.finetune.trainers.pairs import SequenceTrainer, sequence_trainer


class Trainer(SequenceTrainer, ORPOTrainer):
    """TRL's trainer of ORPO, on pairs that are tokenised."""

    @property
    def even_loss(self) -> float:
        """The loss of the empty pair: that of even odds; its answer is not trained."""
        return float(self.beta * math.log(2))

    def concatenated_forward(self, model: Any, batch: dict[str, Any]) -> tuple[Any, ...]:
        """Return TRL's figures of a batch, with the loss of SFT over the chosen answers alone."""
        base: Any = super()
        figures = base.concatenated_forward(model, batch)
        chosen, rejected, chosen_logits, rejected_logits, _, *aux = figures
        nll = -(chosen * (self._rows != NO_ROW)).mean()
        return (chosen, rejected, chosen_logits, rejected_logits, nll, *aux)

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **named: Any) -> Any:
        """Return the batch's share; the rows that are no empty pair are noted for the forward."""
        self._rows = inputs["rows"]
        return super().compute_loss(model, inputs, *args, **named)


def arguments(config: TrainingConfig, folder: Path, gpu: bool) -> ORPOConfig:
    """Return the arguments of ORPO."""
    own = {
        **config.preference,
        "max_length": config.max_length,
        "generate_during_eval": False,
    }
    return common.arguments(config, folder, gpu, ORPOConfig, own, {"disable_dropout": True})


def trainer(setup: Setup) -> Any:
    """Return the trainer of ORPO."""
    args = arguments(setup.config, setup.folder, setup.gpu)
    return sequence_trainer(Trainer, args, DPODataCollatorWithPadding, setup)
