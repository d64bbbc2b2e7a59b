"""Supervised fine-tuning by TRL's SFTTrainer, on rows whose trained tokens are settled."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from crowdselect_core.config.finetune import TrainingConfig
from crowdselect_core.finetune.chat_turns import IGNORED, Tokens
from crowdselect_core.finetune.trainers import common
from crowdselect_core.finetune.trainers.common import NO_ROW, Setup, Watched
from crowdselect_core.finetune.trainers.filled import Filled


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


class Trainer(Watched, Filled, SFTTrainer):
    """TRL's trainer of SFT."""


def arguments(config: TrainingConfig, folder: Path, gpu: bool) -> SFTConfig:
    """Return the arguments of SFT."""
    own = {
        "loss_type": "nll",
        "dataset_kwargs": {"skip_prepare_dataset": True},
        "max_length": None,
        "packing": False,
        "padding_free": False,
        "completion_only_loss": False,
        "assistant_only_loss": False,
        "shuffle_dataset": False,
    }
    return common.arguments(config, folder, gpu, SFTConfig, own)


def trainer(setup: Setup) -> Trainer:
    """Return the trainer of SFT; the loss is the mean over a step's trained tokens, in nats."""
    config, rows = setup.config, setup.rows
    several = config.num_processes > 1
    empty = [Tokens(rows.tokens[0].input_ids[:2], [IGNORED] * 2)] if several else []
    tokens = [*rows.tokens, *empty]
    data = {
        "input_ids": [t.input_ids for t in tokens],
        "labels": [t.labels for t in tokens],
        "row": [*range(len(rows.ids)), *([NO_ROW] * len(empty))],
    }
    made = Trainer(
        args=arguments(config, setup.folder, setup.gpu),
        train_dataset=Dataset.from_dict(data),
        data_collator=Collator(setup.tokenizer.pad_token_id),
        **setup.parts,
    )
    setup.watched(made)
    if several:
        made.fill(len(rows.ids), config)
    return made
