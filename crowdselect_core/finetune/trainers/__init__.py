"""TRL's trainers, one module for each loss; `trainer` returns the one of a recipe."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from crowdselect_core.config.finetune import TrainingConfig
from crowdselect_core.finetune.curve import Progress
from crowdselect_core.finetune.rows import TrainingRows


def trainer(
    config: TrainingConfig,
    model: Any,
    tokenizer: Any,
    rows: TrainingRows[Any],
    folder: Path,
    *,
    gpu: bool,
    save: Callable[[Path, int], None],
    progress: Progress | None = None,
    reference: Callable[[], Any] | None = None,
) -> Any:
    """Return the trainer of a recipe; importing torch and TRL takes seconds.

    Args:
        config: the recipe.
        model: the base model's weights, which are trained in place.
        tokenizer: of the base model.
        rows: what is trained; of `loss: sft` Tokens, of the others PairTokens.
        folder: for the trainer's own checkpoints.
        gpu: whether it runs on a GPU.
        save: stores the checkpoint in a folder; called with the number of its step.
        progress: called after every step.
        reference: loads the base model once more, the reference of DPO with full weights.
    """
    from crowdselect_core.finetune.trainers.common import Setup

    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    setup = Setup(config, model, tokenizer, rows, folder, gpu, save, progress, reference)
    if config.loss == "sft":
        from crowdselect_core.finetune.trainers import sft as kind
    elif config.loss == "dpo":
        from crowdselect_core.finetune.trainers import dpo as kind
    elif config.loss == "simpo":
        from crowdselect_core.finetune.trainers import simpo as kind
    else:
        from crowdselect_core.finetune.trainers import orpo as kind
    return kind.trainer(setup)
