"""Instruction-following difficulty: how little the instruction helps to predict the answer.

Two published definitions, each as its authors' code computes it:

- cherry (Li et al., arXiv 2308.12032): IFD = mean token loss of the answer given the instruction in
  Alpaca's prompt, over its mean token loss after '### Response:' alone. Rows above 1 are dropped.
- superfiltering (Li et al., arXiv 2402.00530): IFD = perplexity of the answer given the
  instruction, over its perplexity alone, where nothing predicts its first token: exp of the
  difference of the losses. Rows of 1 and above are dropped.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from crowdselect_core.annotate.base import Annotation, Row
from crowdselect_core.annotate.ifd_values import DIGITS, NO_TOKEN, ONE_TOKEN, TOO_LONG
from crowdselect_core.annotate.local_model import LocalAnnotator
from crowdselect_core.config.method_models import IfdConfig
from crowdselect_core.models.chat_templates import padding_id
from crowdselect_core.models.logprobs import context, sequence_logprobs
from crowdselect_core.models.prefix_tokens import encoded

ALONE = "### Response:"
# Tokens that the published code gives the answer alone beyond the room that the prompt leaves.
EXTRA_CHERRY, EXTRA_SUPERFILTERING = 4, 1


@dataclass(frozen=True, slots=True)
class Pair:
    """The token ids of one row: the answer given the instruction, and alone.

    Each is (what is given, what is predicted); None where the published code computes no loss.
    """

    given: tuple[list[int], list[int]] | None
    alone: tuple[list[int], list[int]] | None
    reason: str | None = None  # why the row is dropped, whatever its number


class IfdAnnotator(LocalAnnotator):
    """The losses of IFD under a causal language model.

    Cell: loss_given, loss_alone (nats per token; null where there is none), tokens (of the answer,
    as far as they are read).
    """

    def __init__(self, config: IfdConfig) -> None:
        """Keep the config; the model is loaded by the first `run`."""
        super().__init__("ifd", config)
        self._config = config

    def _window(self, window: Sequence[Row]) -> Iterator[Annotation]:
        model, tokenizer = self._loaded()
        most = context(model, self._config.tokens)
        make = PAIRS[self._config.variant]
        pairs = [make(tokenizer, row.instruction, "", row.response, most) for row in window]
        losses = pair_losses(model, padding_id(tokenizer), pairs, self._config.batch_tokens)
        for row, pair, (given, alone) in zip(window, pairs, losses, strict=True):
            tokens = len(pair.given[1]) if pair.given else 0
            yield Annotation(row.key, (given, alone, tokens), pair.reason)


def pair_losses(
    model: Any, pad_id: int, pairs: Sequence[Pair], batch_tokens: int
) -> list[tuple[float | None, float | None]]:
    """Return the loss of every pair's answer given the instruction and alone, in nats per token."""
    asked = [side for pair in pairs for side in (pair.given, pair.alone)]
    known = [side for side in asked if side is not None]
    found = iter(
        sequence_logprobs(
            model,
            [prefix for prefix, _ in known],
            [text for _, text in known],
            pad_id=pad_id,
            batch_tokens=batch_tokens,
        )
    )
    losses = [None if side is None else _loss(next(found).mean) for side in asked]
    return list(zip(losses[::2], losses[1::2], strict=True))


def _loss(mean: float) -> float | None:
    return float(f"{-mean:.{DIGITS}g}") + 0.0 if math.isfinite(mean) else None


def cherry_pair(tokenizer: Any, instruction: str, more: str, answer: str, most: int) -> Pair:
    """Return the token ids of Cherry_LLM's two losses.

    Args:
        tokenizer: of the model; its special tokens count, as it adds them by itself.
        instruction: the instruction.
        more: Alpaca's input, '' where there is none.
        answer: the answer.
        most: the context, 512 as published.
    """
    prompt = alpaca_prompt(instruction, more)
    start = encoded(tokenizer, prompt, None)
    room = most - min(len(start), most)
    if room <= 0:
        return Pair(None, None, TOO_LONG)
    alone_ids = encoded(tokenizer, ALONE + answer, room + EXTRA_CHERRY)
    given_ids = encoded(tokenizer, prompt + answer, most)
    alone_start = len(encoded(tokenizer, ALONE, None))
    alone = alone_ids[:alone_start], alone_ids[alone_start:]
    given = given_ids[: len(start)], given_ids[len(start) :]
    if not alone[1] or not given[1]:
        return Pair(None, None, NO_TOKEN)
    too_long = len(start) + len(alone[1]) > most
    return Pair(given, alone, TOO_LONG if too_long else None)


def superfiltering_pair(
    tokenizer: Any, instruction: str, more: str, answer: str, most: int
) -> Pair:
    """Return the token ids of Superfiltering's two losses; arguments as `cherry_pair`, 1024."""
    if not answer:
        return Pair(None, None, NO_TOKEN)
    prompt = f"{instruction}\n{more}\n" if more else f"{instruction}\n"
    start = encoded(tokenizer, prompt, None)
    room = most - min(len(start), most)
    if room <= 0:
        return Pair(None, None, TOO_LONG)
    alone_ids = encoded(tokenizer, answer, room + EXTRA_SUPERFILTERING)
    given_ids = encoded(tokenizer, prompt + answer, most)
    given = given_ids[: len(start)], given_ids[len(start) :]
    if not given[1]:
        return Pair(None, None, NO_TOKEN)
    if len(alone_ids) < 2:  # nothing predicts the first token
        return Pair(given, None, ONE_TOKEN)
    return Pair(given, ([], alone_ids))


PAIRS: dict[str, Callable[[Any, str, str, str, int], Pair]] = {
    "cherry": cherry_pair,
    "superfiltering": superfiltering_pair,
}


def alpaca_prompt(instruction: str, more: str) -> str:
    """Return Alpaca's prompt of an instruction, and of its input where there is one."""
    if more:
        return (
            "Below is an instruction that describes a task, paired with an input that provides "
            "further context. Write a response that appropriately completes the request.\n\n"
            f"### Instruction:\n{instruction}\n\n### Input:\n{more}\n\n### Response:"
        )
    return (
        "Below is an instruction that describes a task. Write a response that appropriately "
        f"completes the request.\n\n### Instruction:\n{instruction}\n\n### Response:"
    )
