"""A training of two processes that is launched but never trained."""

from typing import Any

from crowdselect_core.config.finetune import TrainingConfig
from crowdselect_core.finetune.base_model import BaseModel
from crowdselect_core.finetune.chat_turns import Tokens
from crowdselect_core.finetune.launch.job import Job
from crowdselect_core.finetune.rows import TrainingRows

ROWS = TrainingRows(["a", "b"], [Tokens([1, 2], [-100, 2]), Tokens([3, 4], [-100, 4])])


def job(**keys: Any) -> Job:
    keys = {"base_model": "unread", "global_batch_size": 4, "num_processes": 2, **keys}
    config = TrainingConfig.model_validate(keys)
    return Job(config, BaseModel("unread", "none", "unread"), gpu=False, start=None)
