"""A training in this process, from its tokenised rows to the files of the model."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from crowdselect_core.config.finetune import TrainingConfig
from crowdselect_core.errors import ConfigError
from crowdselect_core.finetune.base_model import BaseModel
from crowdselect_core.finetune.curve import Progress
from crowdselect_core.finetune.recipe import MODEL, weights_dtype
from crowdselect_core.finetune.rows import TrainingRows
from crowdselect_core.finetune.work_folder import full_disk_explained
from crowdselect_core.models.causal_lm import Source, is_out_of_memory


class TrainingMemory(ConfigError):
    """The training does not fit in the memory; the message says what to lower."""


def source(config: TrainingConfig, base: BaseModel, gpu: bool) -> Source:
    """Return where a base model comes from."""
    where = "training.base_model"
    return Source(where, base.source, base.revision, weights_dtype(config, gpu))


def run(
    config: TrainingConfig,
    base: BaseModel,
    gpu: bool,
    rows: TrainingRows[Any],
    tokenizer: Any,
    work: Path,
    start: Path | None,
    save: Callable[[Path, int], None],
    progress: Progress | None,
) -> list[Mapping[str, Any]]:
    """Train in this process and write the model into `work`; return the logged steps.

    Raises:
        RuntimeError: there are more or fewer processes than the config says.
        UserError: as `train`.
    """
    from datasets import disable_progress_bars
    from transformers.utils.logging import disable_progress_bar

    from crowdselect_core.finetune.trainers import trainer

    weights = source(config, base, gpu)
    disable_progress_bar()  # type: ignore[no-untyped-call]
    disable_progress_bars()
    with _memory_explained(config), full_disk_explained(work), warnings.catch_warnings():
        # TRL still uses names that transformers has renamed; users cannot change that.
        warnings.simplefilter("ignore", FutureWarning)
        made = trainer(
            config, weights.load(), tokenizer, rows, work,
            gpu=gpu, save=save, progress=progress, reference=weights.load,
        )  # fmt: skip
        if made.args.world_size != config.num_processes:
            raise RuntimeError(
                f"training: {made.args.world_size} processes train together, expected "
                f"{config.num_processes} (training.num_processes)"
            )
        made.train(resume_from_checkpoint=str(start) if start else None)
        made.save_model(str(work / MODEL))
    (work / MODEL / "training_args.bin").unlink(missing_ok=True)  # a pickle that nothing reads
    return list(made.state.log_history)


@contextmanager
def _memory_explained(config: TrainingConfig) -> Iterator[None]:
    try:
        yield
    except Exception as e:
        if not is_out_of_memory(e):
            raise
        at = f"per_device_train_batch_size (now {config.per_device_train_batch_size})"
        first = at if config.per_device_train_batch_size > 1 else "max_length"
        further = "" if config.peft else ", or set peft: lora"
        raise TrainingMemory(
            f"training: the memory of the device does not suffice: lower {first}"
            f"{'' if first == 'max_length' else f' or max_length (now {config.max_length})'}, set "
            f"gradient_checkpointing: true{further}"
        ) from None
