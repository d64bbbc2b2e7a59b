"""`training.args`: further arguments of TRL's trainer config, checked before anything runs."""

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from crowdselect_core.config.finetune import TrainingConfig
from crowdselect_core.errors import ConfigError, nearest

# Arguments that change no weights: they are in no key.
ARGS_WITHOUT_EFFECT = frozenset(
    [
        *("dataloader_num_workers", "dataloader_prefetch_factor", "dataloader_persistent_workers"),
        *("dataloader_pin_memory", "dataloader_multiprocessing_context"),
        *("run_name", "project", "trackio_space_id", "trackio_bucket_id"),
        *("trackio_static_space_id", "log_level", "log_level_replica", "log_on_each_node"),
        *("logging_first_step", "include_num_input_tokens_seen", "skip_memory_metrics"),
        *("torch_empty_cache_steps", "ddp_timeout", "ddp_bucket_cap_mb"),
    ]
)

# Arguments that a key of `training` stands for
NAMED = {
    "learning_rate": "learning_rate",
    "num_train_epochs": "num_train_epochs",
    "max_steps": "num_train_epochs",
    "per_device_train_batch_size": "per_device_train_batch_size",
    "gradient_accumulation_steps": "global_batch_size",
    "lr_scheduler_type": "lr_scheduler_type",
    "warmup_steps": "warmup_steps",
    "max_length": "max_length",
    "truncation_mode": "overflow",
    "seed": "seed",
    "data_seed": "seed",
    "loss_type": "loss",
    "beta": "beta",
    "simpo_gamma": "simpo_gamma",
    "bf16": "dtype",
    "fp16": "dtype",
    "bf16_full_eval": "dtype",
    "fp16_full_eval": "dtype",
    "use_cpu": "dtype",
    "gradient_checkpointing": "gradient_checkpointing",
    "activation_checkpointing": "gradient_checkpointing",
    "report_to": "report_to",
    "push_to_hub": "push_to",
}

# Arguments on which resuming, the rows or the log of a run depend
FIXED = frozenset(
    [
        *("output_dir", "remove_unused_columns", "label_names", "length_column_name", "debug"),
        *("logging_steps", "logging_strategy", "logging_nan_inf_filter", "disable_tqdm"),
        *("packing", "packing_strategy", "padding_free", "completion_only_loss"),
        *("assistant_only_loss", "shuffle_dataset", "chat_template_path", "pad_token", "eos_token"),
        *("padding_value", "pad_to_multiple_of", "max_completion_length", "max_prompt_length"),
        *("is_encoder_decoder", "generate_during_eval", "cpo_alpha", "sync_ref_model"),
        *("loss_weights", "use_weighting"),
        *("model_init_kwargs", "trust_remote_code", "resume_from_checkpoint", "local_rank"),
        *("ignore_data_skip", "auto_find_batch_size", "load_best_model_at_end", "ddp_backend"),
        *("metric_for_best_model", "greater_is_better", "dataloader_drop_last", "deepspeed"),
        *("enable_jit_checkpoint", "accelerator_config", "parallelism_config", "use_cache"),
        *("batch_eval_metrics", "include_for_metrics", "prediction_loss_only"),
        *("per_device_eval_batch_size", "discopop_tau", "f_alpha_divergence_coef"),
    ]
)
FIXED_PREFIXES = (
    *("hub_", "eval_", "do_", "save_", "fsdp", "dataset_", "precompute_", "ref_model_"),
    "restore_",
)


def checked_args(config: TrainingConfig, trainer_config: type[Any]) -> dict[str, Any]:
    """Return `training.args` as the trainer's config takes them.

    Args:
        config: the recipe.
        trainer_config: TRL's dataclass of the arguments of the loss.

    Raises:
        ConfigError: it has no such argument, a key of ours stands for it, or the value does not
            fit.
    """
    known = {field.name for field in dataclasses.fields(trainer_config)}
    hints = typing.get_type_hints(trainer_config)
    return {n: _checked(n, v, known, hints, trainer_config) for n, v in config.args.items()}


def _checked(
    name: str, value: Any, known: set[str], hints: Mapping[str, Any], trainer_config: type[Any]
) -> Any:
    where = f"training.args.{name}"
    if name in NAMED:
        raise ConfigError(f"{where}: set training.{NAMED[name]} instead")
    if name not in known:
        title = trainer_config.__name__
        raise ConfigError(f"{where}: TRL's {title} has no such argument{nearest(name, known)}")
    if name in FIXED or name.startswith(FIXED_PREFIXES):
        raise ConfigError(f"{where}: is set by CrowdSelect and cannot be changed: leave it out")
    adapter = TypeAdapter(hints[name], config=None if _own(hints[name]) else LOOSE)
    try:
        return adapter.validate_python(value)
    except ValidationError as e:
        told = e.errors(include_url=False, include_input=False)[0]["msg"]
        raise ConfigError(f"{where}: {told}; found {type(value).__name__}") from None


LOOSE = ConfigDict(arbitrary_types_allowed=True)


def _own(hint: Any) -> bool:
    """Say whether a type brings a config of its own, which pydantic does not let others give."""
    return dataclasses.is_dataclass(hint)
