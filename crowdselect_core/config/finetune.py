"""What a fine-tuning needs to know: the base model, the recipe, how often progress is stored."""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from crowdselect_core.config.base import Frozen, Named, refuse_credentials
from crowdselect_core.config.command import checked_command
from crowdselect_core.config.engine import PriceConfig
from crowdselect_core.config.fields import LocalPath
from crowdselect_core.config.flags import Flag
from crowdselect_core.errors import ConfigError

Dtype = Literal["float32", "bfloat16"]
Scheduler = Literal["cosine", "linear", "constant", "constant_with_warmup"]

Loss = Literal["sft", "dpo", "simpo", "orpo"]
Tracker = Literal["trackio", "wandb", "mlflow", "tensorboard"]

# Learning rates where none is set: of all weights, of LoRA
RATES: dict[Loss, tuple[float, float]] = {
    "sft": (1e-5, 1e-4),
    "dpo": (5e-7, 5e-6),
    "simpo": (1e-6, 1e-6),
    "orpo": (8e-6, 8e-6),
}
BETAS: dict[Loss, float] = {"dpo": 0.1, "simpo": 2.5, "orpo": 0.1}
GAMMA = 1.375  # of SimPO, absolute: gamma, not gamma / beta
REPOSITORY = r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*"

PLACEHOLDERS = ("train_file", "output_dir", "seed", "base_model")  # of training.command
OF_COMMANDS = {  # keys that say something beside a command
    "command", "base_model", "revision", "train_file", "loss", "seed", "num_processes",
    "push_to",
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
    """Fine-tuning of a base model: SFT on the selection, or DPO, SimPO, ORPO on its pairs."""

    base_model: Annotated[str, Flag("NAME")] = Field(
        min_length=1,
        description="Model that is trained: a folder, a hub id, or sample:smollm2",
        examples=["Qwen/Qwen2.5-3B-Instruct", "sample:smollm2"],
    )
    revision: str | None = Field(None, description="Commit, tag or branch of a hub id")
    train_file: Annotated[LocalPath | None, Flag("FILE.jsonl")] = Field(
        None,
        description="Local file to train on, one {messages: [...]} a line, or for dpo, simpo and "
        "orpo one {prompt, chosen, rejected}; when empty, the selection of this config",
        examples=["out/train.jsonl"],
    )
    loss: Annotated[Loss, Flag("NAME")] = Field(
        "sft",
        description="Kind of training: sft on the answers; dpo, simpo or orpo on preference pairs",
    )
    beta: float | None = Field(
        None,
        gt=0,
        description="Strength of the preference; when empty, 0.1 for dpo, 2.5 for simpo, 0.1 for "
        "orpo (the weight lambda of its odds ratio)",
    )
    simpo_gamma: float | None = Field(
        None,
        ge=0,
        description="Margin of simpo between the rewards, absolute; when empty, 1.375",
    )
    peft: LoraConfig | None = Field(
        None,
        description="lora, or a mapping of its keys; when empty, all weights are trained",
        examples=["lora"],
    )
    learning_rate: Annotated[float | None, Flag("RATE")] = Field(
        None,
        gt=0,
        description="Highest learning rate; when empty, of all weights (of LoRA): sft 1e-5 (1e-4), "
        "dpo 5e-7 (5e-6), simpo 1e-6, orpo 8e-6",
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
        "all",
        description="Answers of a conversation that are trained: all, or the last one; of a pair "
        "always the last one",
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
    merge: bool = Field(
        False, description="Write OUT/model with LoRA merged into the weights, not as an adapter"
    )
    push_to: str | None = Field(
        None,
        pattern=f"^{REPOSITORY}$",
        description="Repository of the Hugging Face hub to which OUT/model is uploaded, with the "
        "token of HF_TOKEN; a new one is private",
        examples=["org/name"],
    )
    report_to: Tracker | None = Field(
        None, description="Where TRL reports the steps; its package must be installed"
    )
    args: dict[str, Any] = Field(
        {},
        description="Further arguments of TRL's trainer config, by their names there; they count "
        "as another training, but for those of logging and loading",
        examples=[{"neftune_noise_alpha": 5}],
    )
    rate: float | None = Field(
        None,
        gt=0,
        description="Tokens per second, for --dry-run; when empty, as measured in an earlier "
        "training of this base model",
    )
    price: PriceConfig = Field(
        PriceConfig(), description="Price of an hour (`hour`), for --dry-run"
    )

    num_processes: Annotated[int, Flag("N")] = Field(
        1,
        ge=1,
        description="Processes that train, each on a GPU of its own (without GPUs: on the "
        "processor); does not count as another training",
    )
    launch_config: LocalPath | None = Field(
        None,
        description="File of accelerate's options for these processes (FSDP, DeepSpeed); its "
        "content counts as another training; when empty, torchrun starts them",
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

    @field_validator("args")
    @classmethod
    def _no_credentials_in_args(cls, value: dict[str, Any]) -> dict[str, Any]:
        names = {name: None for name in value if name.startswith("hub_token")}
        refuse_credentials("training.args", names, "set HF_TOKEN")
        refuse_credentials("training.args", value, "set it in the environment", ())
        return value

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
        if self.command is None:
            return self
        fields = type(self).model_fields  # a form in the UI also sends what has its default
        given = self.model_fields_set - OF_COMMANDS
        unread = sorted(n for n in given if getattr(self, n) != fields[n].default)
        if unread:
            raise ValueError(
                f"command trains by itself and does not read {', '.join(unread)}: take them out, "
                "and write them into the command or its files"
            )
        return self

    @model_validator(mode="after")
    def _fits_the_loss(self) -> Self:
        if self.beta is not None and self.loss == "sft":
            raise ValueError("beta is read by the losses dpo, simpo and orpo: leave it out of sft")
        if self.simpo_gamma is not None and self.loss != "simpo":
            raise ValueError(f"simpo_gamma is read by the loss simpo, and loss is {self.loss}")
        if self.merge and self.peft is None:
            raise ValueError("merge needs peft: without, all weights are written anyway")
        return self

    @property
    def on_pairs(self) -> bool:
        """Whether it trains on preference pairs."""
        return self.loss != "sft"

    @property
    def preference(self) -> dict[str, float]:
        """beta, and simpo_gamma of SimPO, those of the loss where none are set; none of SFT."""
        if not self.on_pairs:
            return {}
        beta = {"beta": BETAS[self.loss] if self.beta is None else self.beta}
        gamma = GAMMA if self.simpo_gamma is None else self.simpo_gamma
        return beta | ({"simpo_gamma": gamma} if self.loss == "simpo" else {})

    @property
    def accumulation(self) -> int:
        """Batches of a step that a process computes one after the other."""
        return self.global_batch_size // (self.per_device_train_batch_size * self.num_processes)

    @property
    def peak_learning_rate(self) -> float:
        """The highest learning rate; that of the loss where none is set."""
        return self.learning_rate or RATES[self.loss][self.peft is not None]

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
