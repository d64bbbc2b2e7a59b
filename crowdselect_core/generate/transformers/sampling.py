"""Sampling in which every row of a batch has noise of its own.

Array names carry their shape: B rows of a batch, S positions, V vocabulary.
"""

import hashlib
from collections.abc import Sequence

import torch
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from crowdselect_core.config.engine import SamplingConfig


def seed_of(seed: int, key: bytes) -> int:
    """Return a seed that depends on these two alone, on every machine."""
    return int.from_bytes(hashlib.sha256(f"{seed}/".encode() + key).digest()[:8], "big") >> 1


def stream(seed: int | None, key: bytes) -> torch.Generator:
    """Return the random stream of one row; without a seed, from the system's entropy."""
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed_of(seed, key))
    return generator


class SeededNoise(LogitsProcessor):
    """Turn greedy decoding into sampling: the argmax of logits + Gumbel noise is a draw.

    argmax(logits + g) with g = -log(-log(u)), u uniform in (0, 1), is distributed as
    softmax(logits) (the Gumbel-max trick). Every row draws from a stream of its own, so neither
    its neighbours in the batch nor the order of the rows touch its noise; the streams are the
    CPU's, so the device does not either.
    """

    def __init__(self, streams: Sequence[torch.Generator]) -> None:
        """Take one stream per row of the batch."""
        self.streams = list(streams)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return scores_BV ready for argmax."""
        uniform_BV = torch.stack([torch.rand(scores.shape[1], generator=s) for s in self.streams])
        # Away from exact 0 and 1, where the double logarithm is infinite.
        gumbel_BV = -torch.log(-torch.log(uniform_BV.clamp(1e-10, 1 - 1e-7)))
        return scores.float() + gumbel_BV.to(scores.device)


class OccurrencePenalties(LogitsProcessor):
    """OpenAI's penalties: logit - frequency * count - presence * (count > 0).

    The count is how often the answer so far holds the token; the prompt does not count.
    """

    def __init__(self, presence: float, frequency: float, answered: Sequence[int]) -> None:
        """Take the penalties, and for each row the answer's tokens that the batch starts with."""
        self.presence = presence
        self.frequency = frequency
        self.answered = list(answered)
        self.width: int | None = None  # of the batch at its first step

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return the penalised scores_BV."""
        if self.width is None:
            self.width = input_ids.shape[1]
        counts_BV = torch.zeros_like(scores)
        for b, answered in enumerate(self.answered):
            ids = input_ids[b, self.width - answered :]
            counts_BV[b].scatter_add_(0, ids, torch.ones_like(ids, dtype=scores.dtype))
        return scores - self.frequency * counts_BV - self.presence * (counts_BV > 0)


def processors(
    sampling: SamplingConfig, streams: Sequence[torch.Generator], answered: Sequence[int]
) -> LogitsProcessorList:
    """Return what is done to the logits before the argmax, in vLLM's order.

    Penalties, temperature, min_p, top_k, top_p, noise; the repetition penalty comes before them
    and is generate's own. At temperature 0 only the penalties apply.

    Args:
        sampling: of the crowd model.
        streams: noise of each row.
        answered: tokens at the end of each row that are already answer.
    """
    steps = LogitsProcessorList()
    if sampling.presence_penalty or sampling.frequency_penalty:
        penalties = sampling.presence_penalty, sampling.frequency_penalty
        steps.append(OccurrencePenalties(*penalties, answered))
    if sampling.temperature == 0:
        return steps
    steps.append(TemperatureLogitsWarper(float(sampling.temperature)))
    if sampling.min_p:
        steps.append(MinPLogitsWarper(sampling.min_p))
    if sampling.top_k is not None:
        steps.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        steps.append(TopPLogitsWarper(sampling.top_p))
    steps.append(SeededNoise(streams))
    return steps
