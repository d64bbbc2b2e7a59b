"""SimPO by TRL's CPOTrainer, without the term of CPO.

The loss of a pair is -log sigmoid(beta * (a - b) - gamma), a and b the mean log p of a token of the
chosen and of the rejected answer (Meng et al. 2024, eq. 6); there is no reference model.
"""

import warnings
from pathlib import Path
from typing import Any

import torch
from trl.import_utils import TRLExperimentalWarning

with warnings.catch_warnings():  # constraints.txt pins TRL
    warnings.simplefilter("ignore", TRLExperimentalWarning)
    from trl.experimental.cpo import CPOConfig, CPOTrainer
    from trl.experimental.utils import DPODataCollatorWithPadding

from crowdselect_core.config.finetune import TrainingConfig
from crowdselect_core.finetune.trainers import common
from crowdselect_core.finetune.trainers.common import Setup
from crowdselect_core.finetune.trainers.pairs import SequenceTrainer, sequence_trainer


class Trainer(SequenceTrainer, CPOTrainer):
    """TRL's trainer of CPO, on pairs that are tokenised."""

    @property
    def even_loss(self) -> float:
        """The loss of a pair whose two answers are the same: that of the margin alone."""
        same: Any = torch.tensor([-1.0], device=self.accelerator.device)
        return float(self.cpo_loss(same, same)[0])


def arguments(config: TrainingConfig, folder: Path, gpu: bool) -> CPOConfig:
    """Return the arguments of SimPO: TRL's default of cpo_alpha would make it CPO-SimPO."""
    own = {
        "loss_type": "simpo",
        "cpo_alpha": 0.0,
        **config.preference,
        "max_length": config.max_length,
        "generate_during_eval": False,
    }
    return common.arguments(
        config, folder, gpu, CPOConfig, own, {"disable_dropout": True, "label_smoothing": 0.0}
    )


def trainer(setup: Setup) -> Any:
    """Return the trainer of SimPO."""
    args = arguments(setup.config, setup.folder, setup.gpu)
    return sequence_trainer(Trainer, args, DPODataCollatorWithPadding, setup)
