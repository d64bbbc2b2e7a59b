"""What a training is: the key of a trained model, made of all that changes its weights."""

from hashlib import sha256
from pathlib import Path
from typing import Any

from crowdselect_core.config.finetune import TrainingConfig
from crowdselect_core.finetune.base_model import BaseModel
from crowdselect_core.finetune.trainer_args import ARGS_WITHOUT_EFFECT
from crowdselect_core.store.identity import Spec
from crowdselect_core.util.versions import version_of

STAGE, VERSION = "model", 1
MODEL, CURVE_FILE = "model", "training.parquet"  # folder and file in the artifact and in OUT
LIBRARIES = ("crowdselect", "torch", "transformers", "trl", "peft", "accelerate", "safetensors")

# Keys that change no result beyond rounding, and those that other parts of the identity stand for.
EXECUTION = {
    "per_device_train_batch_size", "gradient_checkpointing", "save_steps", "num_processes",
}  # fmt: skip
NAMED_OTHERWISE = {
    "base_model", "revision", "train_file", "learning_rate", "dtype", "peft", "command",
    "launch_config",
}  # fmt: skip
# Keys that say what is done with the model, and what the dry run reads
AFTERWARDS = {"merge", "push_to", "report_to", "rate", "price"}
# Keys that stand in the recipe only where they say something: older keys stay as they are.
OPTIONAL = {"beta", "simpo_gamma", "args"}


def has_gpu() -> bool:
    """Say whether the training runs on a GPU."""
    import torch

    return bool(torch.cuda.is_available())


def weights_dtype(config: TrainingConfig, gpu: bool) -> str:
    """Return the number format of the weights: bfloat16 for LoRA on a GPU, else float32."""
    return config.dtype or ("bfloat16" if gpu and config.peft else "float32")


def precision(config: TrainingConfig, gpu: bool) -> dict[str, str]:
    """Return the number formats of the weights and of the computation."""
    weights = weights_dtype(config, gpu)
    return {"weights": weights, "compute": "bfloat16" if gpu else weights}


def spec(config: TrainingConfig, base: BaseModel, rows_sha256: str, gpu: bool) -> Spec:
    """Name the trained model: the rows, the base weights, and every number of the recipe."""
    return Spec(STAGE, VERSION, {"rows": rows_sha256, **recipe(config, base, gpu)})


def recipe(config: TrainingConfig, base: BaseModel, gpu: bool) -> dict[str, Any]:
    """Return the recipe as the key and OUT/training.json have it."""
    left_out = EXECUTION | NAMED_OTHERWISE | AFTERWARDS | OPTIONAL
    plain = config.model_dump(mode="json", exclude=left_out)
    if config.on_pairs:
        del plain["train_on"]  # of a pair, the last answers are trained
    changing = {n: v for n, v in config.args.items() if n not in ARGS_WITHOUT_EFFECT}
    args = {"args": changing} if changing else {}
    return (
        plain
        | config.preference
        | args
        | _launch_config(config)
        | {
            "base": base.identity,
            "peft": config.peft and {"kind": "lora", **config.peft.model_dump(mode="json")},
            "learning_rate": config.peak_learning_rate,
            "precision": precision(config, gpu),
        }
    )


def layout(config: TrainingConfig, gpu: bool) -> dict[str, Any]:
    """Return how a training runs; a checkpoint of another layout is not gone on from."""
    told = {
        "device": "cuda" if gpu else "cpu",
        "processes": config.num_processes,
        "per_device_train_batch_size": config.per_device_train_batch_size,
    }
    return told | _launch_config(config)


def _launch_config(config: TrainingConfig) -> dict[str, str]:
    """Return the sha256 of the launch config, which may set optimizer, clipping and formats."""
    if config.launch_config is None:
        return {}
    return {"launch_config": sha256(Path(config.launch_config).read_bytes()).hexdigest()}


def kind_of_work(config: TrainingConfig, base: BaseModel, gpu: bool) -> dict[str, Any]:
    """Return what the speed of a training depends on most: base, loss, LoRA or all weights."""
    return {
        "base": base.identity,
        "loss": config.loss,
        "lora": config.peft is not None,
        "gradient_checkpointing": config.gradient_checkpointing,
        **layout(config, gpu),
    }


def versions() -> dict[str, str]:
    """Return the versions of the libraries that train."""
    return {name: version_of(name) for name in LIBRARIES}
