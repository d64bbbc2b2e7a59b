"""Supervised fine-tuning by TRL's SFTTrainer, on rows whose trained tokens are settled."""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig as PeftLoraConfig
from transformers import PrinterCallback, TrainerCallback
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from crowdselect_core.config.finetune import LoraConfig, TrainingConfig
from crowdselect_core.errors import ConfigError, shown
from crowdselect_core.finetune.chat_turns import IGNORED
from crowdselect_core.finetune.curve import Pace, Progress, log_step
from crowdselect_core.finetune.rows import TrainingRows

log = logging.getLogger("crowdselect")


class TrainingDiverged(ConfigError):
    """The loss is no number any more; the message names the step and its rows."""


class Collator:
    """Pads the rows of a batch at their right end; `rows` are their numbers, for messages."""

    def __init__(self, pad: int) -> None:
        self._pad = pad

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Return input_ids, attention_mask and labels (batch x longest row), and rows (batch)."""
        longest = max(len(e["input_ids"]) for e in examples)

        def padded(values: Sequence[int], fill: int) -> list[int]:
            return [*values, *[fill] * (longest - len(values))]

        return {
            "input_ids": torch.tensor([padded(e["input_ids"], self._pad) for e in examples]),
            "attention_mask": torch.tensor(
                [padded([1] * len(e["input_ids"]), 0) for e in examples]
            ),
            "labels": torch.tensor([padded(e["labels"], IGNORED) for e in examples]),
            "rows": torch.tensor([e["row"] for e in examples]),
        }


class Trainer(SFTTrainer):
    """TRL's trainer, which also knows the rows of a step and stops at a loss that is no number."""

    training_rows: TrainingRows
    pace: Pace

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return TRL's loss of a batch."""
        numbers = inputs.pop("rows").tolist()
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
        self.pace.tokens += sum(len(self.training_rows.tokens[n].input_ids) for n in numbers)
        return found


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


def trainer(
    config: TrainingConfig,
    model: Any,
    tokenizer: Any,
    rows: TrainingRows,
    folder: Path,
    *,
    gpu: bool,
    save: Callable[[Path, int], None],
    progress: Progress | None = None,
) -> Trainer:
    """Return the trainer of a recipe.

    Args:
        config: the recipe.
        model: the base model's weights, which are trained in place.
        tokenizer: of the base model.
        rows: what is trained.
        folder: for the trainer's own checkpoints.
        gpu: whether it runs on a GPU.
        save: stores the checkpoint in a folder; called with the number of its step.
        progress: called after every step.
    """
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    data = {
        "input_ids": [t.input_ids for t in rows.tokens],
        "labels": [t.labels for t in rows.tokens],
        "row": list(range(len(rows.ids))),
    }
    pace = Pace()
    made = Trainer(
        model=model,
        args=arguments(config, folder, gpu),
        train_dataset=Dataset.from_dict(data),
        processing_class=tokenizer,
        data_collator=Collator(tokenizer.pad_token_id),
        callbacks=[Reporter(pace, save, progress)],
        peft_config=lora(config.peft) if config.peft else None,
    )
    made.training_rows, made.pace = rows, pace
    made.remove_callback(PrinterCallback)  # it prints every log as a dict
    return made


def arguments(config: TrainingConfig, folder: Path, gpu: bool) -> SFTConfig:
    """Return the arguments of the trainer; each default that would change a training is stated."""
    return SFTConfig(
        output_dir=str(folder),
        # the recipe
        learning_rate=config.rate,
        num_train_epochs=config.num_train_epochs,
        per_device_train_batch_size=config.per_device_train_batch_size,
        gradient_accumulation_steps=config.accumulation,
        lr_scheduler_type=config.lr_scheduler_type,
        warmup_steps=config.warmup_steps,
        optim="adamw_torch",
        weight_decay=0.0,
        max_grad_norm=1.0,
        seed=config.seed,
        data_seed=config.seed,
        loss_type="nll",
        # the rows are tokenised, cut and labelled; their order follows from the seed alone
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        max_length=None,
        packing=False,
        padding_free=False,
        completion_only_loss=False,
        assistant_only_loss=False,
        shuffle_dataset=False,
        dataloader_drop_last=False,
        dataloader_num_workers=0,
        # the device
        use_cpu=not gpu,
        ddp_backend="nccl" if gpu else "gloo",
        ddp_find_unused_parameters=False,
        bf16=gpu,
        fp16=False,
        gradient_checkpointing=config.gradient_checkpointing,
        dataloader_pin_memory=gpu,
        # what is logged and stored
        logging_steps=1,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to="none",
        save_strategy="steps",
        save_steps=config.save_steps,
        save_total_limit=1,  # on the disk; the store holds its own
        save_only_model=False,
        push_to_hub=False,
    )


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
