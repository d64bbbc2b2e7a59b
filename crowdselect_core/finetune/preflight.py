"""What a training can be refused for before anything is selected or paid for."""

from pathlib import Path

from crowdselect_core.config.finetune import TrainingConfig
from crowdselect_core.errors import ConfigError
from crowdselect_core.finetune import hub_upload, tracking
from crowdselect_core.finetune.base_model import BaseModel, base_model, check_packages
from crowdselect_core.finetune.chat_turns import ChatTurns

PROBE = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi there."}]


def check(config: TrainingConfig) -> BaseModel:
    """Check packages, devices, the base model and its chat template; return the base model.

    Raises:
        ConfigError: what is missing or does not fit.
    """
    check_packages()
    from crowdselect_core.finetune.recipe import has_gpu
    from crowdselect_core.finetune.trainers import check_args
    from crowdselect_core.finetune.training import source

    gpu = has_gpu()
    if gpu:
        _check_one_gpu()
    if config.train_file is not None and not Path(config.train_file).is_file():
        raise ConfigError(f"training.train_file {config.train_file!r} is no file here")
    base = base_model(config)
    at = source(config, base, gpu)
    at.config()
    ChatTurns(at.tokenizer(), config.train_on).tokens(PROBE)
    tracking.check(config.report_to)
    if config.push_to is not None:
        hub_upload.check()
    if config.args:
        check_args(config, gpu)
    return base


def _check_one_gpu() -> None:
    import torch

    if torch.cuda.device_count() > 1:
        raise ConfigError(
            f"training: {torch.cuda.device_count()} GPUs are visible, and training takes one: set "
            "CUDA_VISIBLE_DEVICES to the one it may use"
        )
