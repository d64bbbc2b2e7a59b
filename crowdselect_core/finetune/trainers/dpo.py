"""Direct preference optimisation (DPO) by TRL's DPOTrainer.

The loss of a pair is -log sigmoid(beta * (log p(chosen) - log p(rejected) - the same difference of
the reference)), log p summed over the answer's tokens (Rafailov et al. 2023, eq. 7). The reference
is the base model: with LoRA the model without its adapter, else a second copy of the weights.
"""

import math
from pathlib import Path
from typing import Any

from datasets import Dataset
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DataCollatorForPreference, DPOTrainer

from crowdselect_core.config.finetune import TrainingConfig
from crowdselect_core.finetune.trainers import common
from crowdselect_core.finetune.trainers.common import Setup
from crowdselect_core.finetune.trainers.pairs import Collator, PairTrainer, numbered, ready


class Trainer(PairTrainer, DPOTrainer):
    """TRL's trainer of DPO, on pairs that are tokenised."""

    even_loss = math.log(2)

    def _prepare_dataset(self, dataset: Any, *args: Any, **options: Any) -> Any:
        """Return the pairs as they are: tokenised, cut, with one end of turn."""
        return dataset


def arguments(config: TrainingConfig, folder: Path, gpu: bool) -> DPOConfig:
    """Return the arguments of DPO."""
    own = {
        "loss_type": ["sigmoid"],
        **config.preference,
        "max_length": None,
        "padding_free": False,
        "precompute_ref_log_probs": False,
        "sync_ref_model": False,
    }
    return common.arguments(config, folder, gpu, DPOConfig, own, {"disable_dropout": True})


def trainer(setup: Setup) -> Any:
    """Return the trainer of DPO."""
    numbers, rows = numbered(setup)
    data = {
        "prompt_ids": [pair.prompt for pair in rows],
        "chosen_ids": [pair.chosen for pair in rows],
        "rejected_ids": [pair.rejected for pair in rows],
        "row": numbers,
    }
    has_adapter = setup.config.peft is not None
    made = Trainer(
        ref_model=None if has_adapter or setup.reference is None else setup.reference(),
        args=arguments(setup.config, setup.folder, setup.gpu),
        train_dataset=Dataset.from_dict(data),
        data_collator=Collator(DataCollatorForPreference(setup.tokenizer.pad_token_id)),
        **setup.parts,
    )
    return ready(made, setup)
