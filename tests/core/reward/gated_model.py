"""A small model with ArmoRM's outputs, as its repository's own code would define it.

The tests copy this file into a model folder; it imports nothing of this project.
"""

from dataclasses import dataclass
from typing import Any

import torch
from transformers import LlamaModel, LlamaPreTrainedModel
from transformers.utils import ModelOutput


@dataclass
class GatedOutput(ModelOutput):
    """One gated score a pair, and what it is made of."""

    rewards: torch.Tensor | None = None
    gating_output: torch.Tensor | None = None
    score: torch.Tensor | None = None


class LlamaForRewardModelWithGating(LlamaPreTrainedModel):
    """Objectives by one linear layer at the last token, weighed by another."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        objectives = getattr(config, "num_objectives", 19)
        self.model = LlamaModel(config)
        self.regression_layer = torch.nn.Linear(config.hidden_size, objectives, bias=False)
        self.gating = torch.nn.Linear(config.hidden_size, objectives)
        self.post_init()

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **_: Any
    ) -> GatedOutput:
        hidden = self.model(input_ids, attention_mask=attention_mask).last_hidden_state
        content = (input_ids != self.config.pad_token_id).long()
        last = (content * torch.arange(input_ids.shape[1])).argmax(dim=1)
        pooled = hidden[torch.arange(len(hidden)), last]
        rewards = self.regression_layer(pooled)
        weights = self.gating(pooled).softmax(dim=1)
        score = (rewards * weights).sum(dim=1)
        return GatedOutput(rewards=rewards, gating_output=weights, score=score)
