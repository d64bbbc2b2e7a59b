"""What all trainers share: the arguments, the log of the steps, and the stop at a loss of NaN."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from peft import LoraConfig as PeftLoraConfig
from transformers import PrinterCallback, TrainerCallback

from crowdselect_core.config.finetune import LoraConfig, TrainingConfig
from crowdselect_core.errors import ConfigError, first_line, shown
from crowdselect_core.finetune.curve import Pace, Progress, log_step
from crowdselect_core.finetune.rows import TrainingRows
from crowdselect_core.finetune.trainer_args import checked_args

NO_ROW = -1  # number of a row that only fills a batch

Arguments = TypeVar("Arguments")


class TrainingDiverged(ConfigError):
    """The loss is no number any more; the message names the step and its rows."""


@dataclass(frozen=True)
class Setup:
    """What a trainer is made of; see `trainers.trainer`."""

    config: TrainingConfig
    model: Any
    tokenizer: Any
    rows: TrainingRows[Any]
    folder: Path
    gpu: bool
    save: Callable[[Path, int], None]
    progress: Progress | None = None
    reference: Callable[[], Any] | None = None
    pace: Pace = field(default_factory=Pace)

    @property
    def parts(self) -> dict[str, Any]:
        """The arguments that every trainer of TRL takes."""
        peft = self.config.peft
        return {
            "model": self.model,
            "processing_class": self.tokenizer,
            "callbacks": [Reporter(self.pace, self.save, self.progress)],
            "peft_config": lora(peft) if peft else None,
        }

    def watched(self, made: Any) -> Any:
        """Return a trainer that knows its rows and prints nothing itself."""
        made.training_rows, made.pace = self.rows, self.pace
        made.remove_callback(PrinterCallback)  # it prints every log as a dict
        return made


class Watched:
    """A trainer that also knows the rows of a step and stops at a loss that is no number.

    It stands before one of TRL's trainers among the bases. A batch holds `rows`, their numbers.
    """

    training_rows: TrainingRows[Any]
    pace: Pace
    state: Any
    model: Any

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return TRL's loss of a batch."""
        numbers = [n for n in inputs.pop("rows").tolist() if n != NO_ROW]
        base: Any = super()
        found = base.compute_loss(model, inputs, return_outputs, num_items_in_batch)
        loss = found[0] if return_outputs else found
        value = float(loss.detach())
        if not math.isfinite(value):
            ids = shown(self.training_rows.ids[n] for n in numbers)
            raise TrainingDiverged(
                f"training: the loss of step {self.state.global_step + 1} is {value}, in the "
                f"rows {ids}: lower learning_rate, or look at these rows"
            )
        self.pace.tokens += sum(self.training_rows.tokens[n].total for n in numbers)
        return found

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """Warn of a checkpoint's missing weights; a tied one is no file's and not missing."""
        tied = set(getattr(self.model, "all_tied_weights_keys", None) or {})
        load_result.missing_keys[:] = [k for k in load_result.missing_keys if k not in tied]
        base: Any = super()
        base._issue_warnings_after_load(load_result)


class Reporter(TrainerCallback):
    """Logs every step and stores checkpoints."""

    def __init__(
        self, pace: Pace, save: Callable[[Path, int], None], progress: Progress | None
    ) -> None:
        self._pace, self._save, self._progress = pace, save, progress

    def on_train_begin(self, args: Any, state: Any, control: Any, **told: Any) -> None:
        """Begin to measure the time."""
        self._pace.begun = time.monotonic()

    def on_log(self, args: Any, state: Any, control: Any, **told: Any) -> None:
        """Log a step as `step 12/60  loss 1.234  ...`."""
        logs = told.get("logs") or {}
        if "loss" not in logs:
            return
        if not math.isfinite(float(logs.get("grad_norm", 0.0))):
            raise TrainingDiverged(
                f"training: the gradient of step {state.global_step} is {logs['grad_norm']}: lower "
                "learning_rate"
            )
        step = self._pace.step(logs, state.global_step, state.max_steps)
        log_step(step)
        if self._progress:
            self._progress(step)

    def on_save(self, args: Any, state: Any, control: Any, **told: Any) -> None:
        """Store the checkpoint that the trainer has just written."""
        step = int(state.global_step)
        self._save(Path(args.output_dir) / f"checkpoint-{step}", step)


# Arguments that `training.args` may change
CHANGEABLE: Mapping[str, Any] = {
    "optim": "adamw_torch",
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "dataloader_num_workers": 0,
    "trackio_space_id": None,  # trackio stays on this machine unless a space is named
    "trackio_static_space_id": False,
}


def arguments(
    config: TrainingConfig,
    folder: Path,
    gpu: bool,
    kind: type[Arguments],
    own: Mapping[str, Any],
    changeable: Mapping[str, Any] = MappingProxyType({}),
) -> Arguments:
    """Return the arguments of a trainer; each of TRL's defaults that would surprise is stated.

    Args:
        config: the recipe.
        folder: for the trainer's own checkpoints.
        gpu: whether it runs on a GPU.
        kind: TRL's dataclass of the arguments.
        own: those of the loss.
        changeable: those of the loss that `training.args` may change.

    Raises:
        ConfigError: `training.args` holds what does not fit.
    """
    given = {**CHANGEABLE, "dataloader_pin_memory": gpu, **changeable, **checked_args(config, kind)}
    try:
        return kind(**{**given, **_fixed(config, folder, gpu), **own})
    except (ValueError, TypeError, ImportError) as e:
        if not config.args:
            raise
        raise ConfigError(f"training.args: {kind.__name__} refuses them: {first_line(e)}") from None


def _fixed(config: TrainingConfig, folder: Path, gpu: bool) -> dict[str, Any]:
    return {
        "output_dir": str(folder),
        # the recipe
        "learning_rate": config.peak_learning_rate,
        "num_train_epochs": config.num_train_epochs,
        "per_device_train_batch_size": config.per_device_train_batch_size,
        "gradient_accumulation_steps": config.accumulation,
        "lr_scheduler_type": config.lr_scheduler_type,
        "warmup_steps": config.warmup_steps,
        "seed": config.seed,
        "data_seed": config.seed,
        # the rows are tokenised, cut and labelled; their order follows from the seed alone
        "remove_unused_columns": False,
        "dataloader_drop_last": False,
        # the device
        "use_cpu": not gpu,
        "ddp_backend": ("nccl" if gpu else "gloo") if config.num_processes > 1 else None,
        "ddp_find_unused_parameters": False,
        "bf16": gpu,
        "fp16": False,
        "gradient_checkpointing": config.gradient_checkpointing,
        # what is logged and stored
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "disable_tqdm": True,
        "report_to": config.report_to or "none",
        "save_strategy": "steps",
        "save_steps": config.save_steps,
        "save_total_limit": 1,  # on the disk; the store holds its own
        "save_only_model": False,
        "push_to_hub": False,
    }


def lora(config: LoraConfig) -> PeftLoraConfig:
    """Return PEFT's config of LoRA."""
    return PeftLoraConfig(
        task_type="CAUSAL_LM",
        r=config.r,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=config.target_modules,
        bias="none",
    )
