"""train.yaml: the recipe of `training` in LLaMA-Factory's keys, beside dataset_info.json."""

from typing import Any

import yaml

from crowdselect_core.config.finetune import TrainingConfig

FILE = "train.yaml"
OUTPUT = "llamafactory"  # folder of the model, relative to where the command runs
LOSSES = {"dpo": "sigmoid", "simpo": "simpo", "orpo": "orpo"}  # pref_loss
# Names of LLaMA-Factory's templates, by what the name of a base model contains
TEMPLATES = {
    "qwen3": "qwen3",
    "qwen": "qwen",
    "llama-3": "llama3",
    "llama3": "llama3",
    "gemma-3": "gemma3",
    "gemma": "gemma",
    "mistral": "mistral",
}
HEAD = """\
# The recipe of CrowdSelect's `training` for LLaMA-Factory, made by --export llamafactory:
#   llamafactory-cli train {file}
# in this folder, which holds dataset_info.json and the data.
#
# CHECK `template`: it is guessed from the base model's name. LLaMA-Factory formats conversations by
# its own templates; a wrong one trains a format that the model is never asked in.
"""


def recipe(training: TrainingConfig) -> dict[str, Any]:
    """Return the recipe by the keys of LLaMA-Factory.

    Both train on the answers alone, by AdamW without weight decay, gradients clipped at norm 1.
    """
    keys: dict[str, Any] = {
        "model_name_or_path": training.base_model,
        "trust_remote_code": False,
        "stage": "dpo" if training.on_pairs else "sft",
        "do_train": True,
        **_weights(training),
        **_preference(training),
        "dataset_dir": ".",
        "dataset": "crowdselect_pairs" if training.on_pairs else "crowdselect",
        "template": template(training.base_model),
        "cutoff_len": training.max_length,
        "train_on_prompt": False,
        "mask_history": training.train_on == "last",
        "packing": False,
        "output_dir": OUTPUT,
        "learning_rate": training.peak_learning_rate,
        "num_train_epochs": training.num_train_epochs,
        "per_device_train_batch_size": training.per_device_train_batch_size,
        "gradient_accumulation_steps": training.accumulation,
        "lr_scheduler_type": training.lr_scheduler_type,
        **_warmup(training.warmup_steps),
        "optim": "adamw_torch",
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "bf16": True,
        "seed": training.seed,
        "logging_steps": 1,
        "save_steps": training.save_steps,
        "report_to": training.report_to or "none",
    }
    if training.on_pairs:
        del keys["mask_history"]
    return keys | ({"model_revision": training.revision} if training.revision else {})


def train_yaml(training: TrainingConfig) -> bytes:
    """Return train.yaml."""
    head = HEAD.format(file=FILE)
    if training.base_model.startswith("sample:"):
        head += "# CHANGE `model_name_or_path`: only CrowdSelect unpacks the sample's model.\n"
    if training.args:
        head += "# `training.args` are TRL's and are left out.\n"
    return (head + yaml.safe_dump(recipe(training), sort_keys=False)).encode()


def template(base_model: str) -> str:
    """Return the template that LLaMA-Factory most likely has for a base model."""
    name = base_model.rpartition("/")[2].lower()
    return next((t for part, t in TEMPLATES.items() if part in name), "default")


def _weights(training: TrainingConfig) -> dict[str, Any]:
    lora = training.peft
    if lora is None:
        return {"finetuning_type": "full"}
    targets = lora.target_modules
    named = targets if isinstance(targets, str) else ",".join(targets)
    return {
        "finetuning_type": "lora",
        "lora_rank": lora.r,
        "lora_alpha": lora.lora_alpha,
        "lora_dropout": lora.lora_dropout,
        "lora_target": "all" if named == "all-linear" else named,
    }


def _preference(training: TrainingConfig) -> dict[str, Any]:
    if not training.on_pairs:
        return {}
    numbers = training.preference
    gamma = {"simpo_gamma": numbers["simpo_gamma"]} if "simpo_gamma" in numbers else {}
    return {"pref_loss": LOSSES[training.loss], "pref_beta": numbers["beta"], **gamma}


def _warmup(steps: float) -> dict[str, Any]:
    return {"warmup_ratio": steps} if steps < 1 else {"warmup_steps": int(steps)}
