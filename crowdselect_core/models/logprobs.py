"""The log-probability of a text after a prefix, under a causal language model.

Pointwise mutual information (`reward/likelihood.py`) and instruction-following difficulty are
built on it. Array names carry their shape: B rows of a batch, S positions, K positions that are
kept, V vocabulary, N tokens of one text.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from crowdselect_core.models.batching import by_length, pad
from crowdselect_core.models.causal_lm import in_parts, positions, takes

# Numbers in a batch's logits, at most: 2 GiB in float32. A vocabulary of 150,000 would need 5 GB
# for a batch of 8,192 tokens.
MOST_LOGITS = 1 << 29


@dataclass(frozen=True, slots=True)
class LogProb:
    """Log-probability of a text in nats, and the tokens that it is summed over."""

    total: float
    tokens: int

    @property
    def mean(self) -> float:
        """Nats per token; minus this is the loss. NaN where no token counts."""
        return self.total / self.tokens if self.tokens else float("nan")


def sequence_logprobs(
    model: Any,
    prefixes: Sequence[Sequence[int]],
    texts: Sequence[Sequence[int]],
    *,
    pad_id: int,
    batch_tokens: int,
) -> list[LogProb]:
    """Return log p(text | prefix) = sum over n of log p(text[n] | prefix, text[:n]) of each pair.

    After an empty prefix nothing predicts the first token, so it is given and not counted, as in
    the loss of a text alone. How rows are batched changes a result by float noise only (about 1e-6
    in float32, up to 0.1 in bfloat16).

    Args:
        model: a causal language model of transformers.
        prefixes: token ids, one list per pair.
        texts: token ids whose log-probability is asked.
        pad_id: any token id of the model.
        batch_tokens: most padded tokens of a batch.

    Raises:
        OutOfMemory: one pair alone does not fit in the device's memory.
    """
    pairs = [([*p, *t], len(p)) for p, t in zip(prefixes, texts, strict=True)]
    found: dict[int, LogProb] = {}
    counted = [i for i, (ids, start) in enumerate(pairs) if len(ids) > max(start, 1)]
    limit = min(batch_tokens, max(1, MOST_LOGITS // _vocabulary(model)))
    for batch in by_length([len(pairs[i][0]) for i in counted], tokens=limit):

        def compute(rows: Sequence[int]) -> dict[int, LogProb]:
            return dict(zip(rows, _batch(model, [pairs[i] for i in rows], pad_id), strict=True))

        for part in in_parts([counted[row] for row in batch], compute):
            found.update(part)
    return [found.get(i, LogProb(0.0, 0)) for i in range(len(pairs))]


@torch.inference_mode()
def _batch(model: Any, pairs: Sequence[tuple[list[int], int]], pad_id: int) -> list[LogProb]:
    ids_BS, mask_BS = pad([ids for ids, _ in pairs], pad_id, left=False)
    ids_BS, mask_BS = ids_BS.to(model.device), mask_BS.to(model.device)
    # Position s predicts token s + 1: only the positions before some counted token are kept.
    first = max(min(start for _, start in pairs), 1) - 1
    options: dict[str, Any] = {"use_cache": False}
    if takes(model, "logits_to_keep"):
        options["logits_to_keep"] = torch.arange(first, ids_BS.shape[1] - 1, device=model.device)
    logits_BKV = model(input_ids=ids_BS, attention_mask=mask_BS, **options).logits
    if "logits_to_keep" not in options:
        logits_BKV = logits_BKV[:, first:-1]
    return list(_sums(logits_BKV, ids_BS, pairs, first))


def _sums(
    logits_BKV: torch.Tensor,
    ids_BS: torch.Tensor,
    pairs: Sequence[tuple[list[int], int]],
    first: int,
) -> Iterator[LogProb]:
    """Sum each row by itself, so that the log-probabilities of one row are in memory at a time."""
    for b, (ids, start) in enumerate(pairs):
        begin, end = max(start, 1), len(ids)
        logits_NV = logits_BKV[b, begin - 1 - first : end - 1 - first].float()
        targets_N1 = ids_BS[b, begin:end].unsqueeze(1)
        chosen_N1 = torch.log_softmax(logits_NV, dim=-1).gather(1, targets_N1)
        yield LogProb(float(chosen_N1.double().sum()), end - begin)


def context(model: Any, most: int) -> int:
    """Return the tokens of a pair that are read: `most`, or the model's positions if fewer."""
    return min(most, positions(model.config) or most)


def _vocabulary(model: Any) -> int:
    return int(model.get_input_embeddings().num_embeddings)
