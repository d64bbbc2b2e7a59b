"""TRL's trainers, one module for each loss; `trainer` returns the one of a recipe."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from crowdselect_core.config.finetune import Loss, TrainingConfig
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
    return module(config.loss).trainer(setup)


def check_args(config: TrainingConfig, gpu: bool) -> None:
    """Check `training.args` against TRL's config of the loss.

    Raises:
        ConfigError: it has no such argument, a key of ours stands for it, or it does not fit.
    """
    module(config.loss).arguments(config, Path("unused"), gpu)


def module(loss: Loss) -> Any:
    """Return the module of a loss: `arguments` and `trainer`."""
    return import_module(f"{__name__}.{loss}")
