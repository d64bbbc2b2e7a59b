"""What a training can be refused for before anything is selected or paid for."""

import logging
from pathlib import Path

from crowdselect_core.config.finetune import TrainingConfig
from crowdselect_core.errors import ConfigError
from crowdselect_core.finetune import hub_upload, tracking
from crowdselect_core.finetune.base_model import BaseModel, base_model, check_folder, check_packages
from crowdselect_core.finetune.base_tokenizer import look_up
from crowdselect_core.finetune.chat_turns import ChatTurns
from crowdselect_core.finetune.own_trainer import WHERE, command_words
from crowdselect_core.processes import user_command

log = logging.getLogger("crowdselect")

PROBE = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi there."}]


def check(config: TrainingConfig, *, elsewhere: bool = False) -> BaseModel:
    """Check packages, devices, the base model and its chat template; return the base model.

    Args:
        config: the recipe.
        elsewhere: whether workers of a cluster train: the GPUs of this machine count for nothing.

    Raises:
        ConfigError: what is missing or does not fit.
    """
    check_files(config)
    if config.push_to is not None:
        hub_upload.check()
    if config.command is not None:
        user_command.check(WHERE, command_words(config))
        base = base_model(config)
        _look_for_tokenizer(base)
        return base
    from crowdselect_core.finetune.in_process import source
    from crowdselect_core.finetune.recipe import has_gpu
    from crowdselect_core.finetune.trainers import check_args

    gpu = has_gpu()
    if gpu and not elsewhere:
        _check_gpus(config)
    base = base_model(config)
    at = source(config, base, gpu)
    at.config()
    ChatTurns(at.tokenizer(), config.train_on).tokens(PROBE)
    tracking.check(config.report_to)
    if config.args:
        check_args(config, gpu)
    return base


def check_files(config: TrainingConfig) -> None:
    """Check of `check` what is told at once: no library that trains is imported, no model read.

    Raises:
        ConfigError: a file, the folder of the base model or a package is missing.
    """
    for key, file in (("train_file", config.train_file), ("launch_config", config.launch_config)):
        if file is not None and not Path(file).is_file():
            raise ConfigError(f"training.{key} {file!r} is no file here")
    if config.command is None:
        check_packages()
    check_folder(config.base_model)


def _look_for_tokenizer(base: BaseModel) -> None:
    """Fetch the tokenizer that a command's model may need at its end; warn where there is none."""
    lacks, found = look_up(base)
    if found is None:
        log.warning("%s: %s: have the command save a tokenizer in {output_dir}", WHERE, lacks)


def _check_gpus(config: TrainingConfig) -> None:
    import torch

    there = torch.cuda.device_count()
    if config.num_processes > there:
        raise ConfigError(
            f"training.num_processes is {config.num_processes}, and {there} GPUs are visible, of "
            "which each process takes one: lower it, or run where there are more"
        )
