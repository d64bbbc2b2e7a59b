"""What a fine-tuning needs to know: the base model, the recipe, how often progress is stored."""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from crowdselect_core.config.base import Frozen, Named, refuse_credentials
from crowdselect_core.config.command import checked_command
from crowdselect_core.config.flags import Flag
from crowdselect_core.errors import ConfigError

Dtype = Literal["float32", "bfloat16"]
Scheduler = Literal["cosine", "linear", "constant", "constant_with_warmup"]

FULL_RATE, LORA_RATE = 1e-5, 1e-4  # learning rates of SFT where none is set

PLACEHOLDERS = ("train_file", "output_dir", "seed", "base_model")  # of training.command
OF_COMMANDS = {  # keys that say something beside a command
    "command", "base_model", "revision", "train_file", "loss", "seed", "num_processes",
}  # fmt: skip


class LoraConfig(Named):
    """LoRA by PEFT; `peft: lora` takes the defaults."""

    r: int = Field(16, ge=1, description="Rank of the update of a matrix")
    lora_alpha: int = Field(32, ge=1, description="Scale: the update counts lora_alpha / r times")
    lora_dropout: float = Field(0.05, ge=0, lt=1, description="Share of the inputs that is dropped")
    target_modules: str | list[str] = Field(
        "all-linear",
        description="Modules that are adapted: all-linear, or names",
        examples=["all-linear", ["q_proj", "v_proj"]],
    )

    @classmethod
    def from_name(cls, name: str) -> dict[str, Any]:
        """Return the keys that a bare name stands for."""
        if name != "lora":
            raise ValueError(f"expected lora, a mapping of its keys, or null, found {name!r}")
        return {}


class TrainingConfig(Frozen):
    """Supervised fine-tuning (SFT) of a base model on the selection."""

    base_model: Annotated[str, Flag("NAME")] = Field(
        min_length=1,
        description="Model that is trained: a folder, a hub id, or sample:smollm2",
        examples=["Qwen/Qwen2.5-3B-Instruct", "sample:smollm2"],
    )
    revision: str | None = Field(None, description="Commit, tag or branch of a hub id")
    train_file: Annotated[str | None, Flag("FILE.jsonl")] = Field(
        None,
        description="Local file to train on, one {messages: [...]} a line; when empty, the "
        "selection of this config",
        examples=["out/train.jsonl"],
    )
    loss: Literal["sft"] = Field("sft", description="Kind of training")
    peft: LoraConfig | None = Field(
        None,
        description="lora, or a mapping of its keys; when empty, all weights are trained",
        examples=["lora"],
    )
    learning_rate: Annotated[float | None, Flag("RATE")] = Field(
        None,
        gt=0,
        description="Highest learning rate; when empty, 1e-5 for all weights and 1e-4 for LoRA",
    )
    num_train_epochs: Annotated[float, Flag("N")] = Field(
        3.0, gt=0, description="Passes over the rows; the last one may be a part"
    )
    global_batch_size: Annotated[int, Flag("N")] = Field(
        16, ge=1, description="Rows of a step: per device x accumulation x processes"
    )
    per_device_train_batch_size: Annotated[int, Flag("N")] = Field(
        1, ge=1, description="Rows that are computed at once; does not count as another training"
    )
    lr_scheduler_type: Scheduler = Field(
        "cosine", description="Course of the learning rate after the warm-up"
    )
    warmup_steps: float = Field(
        0.1, ge=0, description="Steps of the warm-up; below 1 a share of all steps"
    )
    max_length: Annotated[int, Flag("N")] = Field(2048, ge=8, description="Most tokens of a row")
    overflow: Literal["truncate", "drop"] = Field(
        "truncate", description="What is done with a longer row: cut at its end, or left out"
    )
    train_on: Literal["all", "last"] = Field(
        "all", description="Answers of a conversation that are trained: all, or the last one"
    )
    dtype: Dtype | None = Field(
        None,
        description="Number format of the weights in memory; when empty, float32, and bfloat16 for "
        "LoRA on a GPU; a GPU computes in bfloat16, a processor in the format of the weights",
    )
    gradient_checkpointing: bool = Field(
        False, description="Compute activations twice to save memory; changes no result"
    )
    seed: Annotated[int, Flag("N")] = Field(
        0, ge=0, le=2**32 - 1, description="Seed of the order of rows, of LoRA and of dropout"
    )
    save_steps: Annotated[int, Flag("N")] = Field(
        100, ge=1, description="Steps between two checkpoints; changes no result"
    )

    num_processes: Annotated[int, Flag("N")] = Field(
        1,
        ge=1,
        description="Processes that train, each on a GPU of its own (without GPUs: on the "
        "processor); does not count as another training",
    )
    launch_config: str | None = Field(
        None,
        description="File of accelerate's options for these processes (FSDP, DeepSpeed); when "
        "empty, torchrun starts them",
    )
    command: str | None = Field(
        None,
        description="Your own trainer: a command with {train_file}, {output_dir}, {seed}, "
        "{base_model} as whole arguments; runs only where CROWDSELECT_ALLOW_COMMANDS=1 is set",
        examples=["/opt/train/run.sh {train_file} {output_dir} {seed}"],
    )

    @field_validator("base_model")
    @classmethod
    def _no_credentials(cls, value: str) -> str:
        refuse_credentials("training", {"base_model": value}, "log in with `hf auth login`", ())
        return value

    @field_validator("command")
    @classmethod
    def _splits(cls, value: str | None) -> str | None:
        return value and checked_command("training", "command", value, PLACEHOLDERS)

    @model_validator(mode="after")
    def _divides(self) -> Self:
        at_once = self.per_device_train_batch_size * self.num_processes
        if self.command is None and self.global_batch_size % at_once:
            processes = f" x num_processes {self.num_processes}" if self.num_processes > 1 else ""
            raise ValueError(
                f"global_batch_size {self.global_batch_size} is no multiple of "
                f"per_device_train_batch_size {self.per_device_train_batch_size}{processes}: "
                "change one"
            )
        return self

    @model_validator(mode="after")
    def _command_trains_by_itself(self) -> Self:
        unread = sorted(self.model_fields_set - OF_COMMANDS) if self.command is not None else []
        if unread:
            raise ValueError(
                f"command trains by itself and does not read {', '.join(unread)}: take them out, "
                "and write them into the command or its files"
            )
        return self

    @property
    def accumulation(self) -> int:
        """Batches of a step that a process computes one after the other."""
        return self.global_batch_size // (self.per_device_train_batch_size * self.num_processes)

    @property
    def rate(self) -> float:
        """The highest learning rate; of a kind of training where none is set."""
        return self.learning_rate or (FULL_RATE if self.peft is None else LORA_RATE)

    def steps(self, rows: int) -> int:
        """Return the optimizer steps over `rows` rows: those of an epoch times the epochs.

        An epoch's last step takes the rows that are left.
        """
        batches = math.ceil(rows / (self.per_device_train_batch_size * self.num_processes))
        return math.ceil(math.ceil(batches / self.accumulation) * self.num_train_epochs)


def required(training: TrainingConfig | None) -> TrainingConfig:
    """Return the section `training`.

    Raises:
        ConfigError: the config has none.
    """
    if training is None:
        raise ConfigError(
            "training is missing: name the model that is to be trained, in the config file as "
            "'training: {base_model: NAME}' or by --training-base-model NAME"
        )
    return training
