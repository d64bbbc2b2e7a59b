"""What the trainers of preference pairs share: batches, and the mean over the pairs of a step."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from datasets import Dataset

from crowdselect_core.finetune.chat_turns import IGNORED
from crowdselect_core.finetune.pair_rows import PairTokens
from crowdselect_core.finetune.trainers.common import NO_ROW, Setup, Watched
from crowdselect_core.finetune.trainers.filled import Filled

Batch = dict[str, Any]
Collate = Callable[[list[dict[str, Any]]], Batch]


class Collator:
    """Pads pairs as one of TRL's collators does; `rows` are their numbers, for messages."""

    def __init__(self, collate: Collate) -> None:
        self._collate = collate

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> Batch:
        """Return the batch of TRL's collator, and rows (batch)."""
        pairs = [{k: v for k, v in example.items() if k != "row"} for example in examples]
        return {**self._collate(pairs), "rows": torch.tensor([e["row"] for e in examples])}


class PairTrainer(Watched, Filled):
    """A trainer whose loss of a step is the mean over its pairs, however they are batched.

    TRL takes the mean of each batch and then the mean of the batches, in which a pair of a smaller
    last batch would count more. The empty pair has twice the same answer: its loss is a constant
    without a gradient, `even_loss`, which is taken off.
    """

    accelerator: Any

    @property
    def even_loss(self) -> float:
        """The loss of a pair whose two answers are the same."""
        raise NotImplementedError

    def _get_num_items_in_batch(self, batch_samples: Sequence[Batch], device: Any) -> Any:
        """Return the pairs of a step, in all processes."""
        pairs = sum(int((batch["rows"] != NO_ROW).sum()) for batch in batch_samples)
        return self.accelerator.gather(torch.tensor(pairs, device=device)).sum()

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return a batch's share of the mean over the pairs of the step.

        Gradients are averaged over processes, so the share is taken times their number.
        """
        pairs, empty = len(inputs["rows"]), int((inputs["rows"] == NO_ROW).sum())
        loss = super().compute_loss(model, inputs, False, None)
        if num_items_in_batch is None:
            return loss
        total = loss * pairs - empty * self.even_loss
        return total * (self.accelerator.num_processes / num_items_in_batch)


class SequenceTrainer(PairTrainer):
    """A trainer of whole sequences, one for each side of a pair: TRL's of CPO and ORPO."""

    def tokenize_row(self, feature: Mapping[str, Any], model: Any = None) -> dict[str, Any]:
        """Return nothing new: TRL would write a second end of turn."""
        return {}


def sequence_trainer(kind: Any, arguments: Any, collate: Any, setup: Setup) -> Any:
    """Return a trainer of whole sequences.

    Args:
        kind: its class.
        arguments: TRL's config of it.
        collate: class of TRL's collator.
        setup: of the training.
    """
    made = kind(
        args=arguments,
        train_dataset=sequences(setup),
        data_collator=Collator(collate(setup.tokenizer.pad_token_id)),
        **setup.parts,
    )
    return ready(made, setup)


def numbered(setup: Setup) -> tuple[list[int], list[PairTokens]]:
    """Return the pairs with their numbers, the empty one last where several processes train."""
    pairs = list(setup.rows.tokens)
    numbers = list(range(len(pairs)))
    if setup.config.num_processes == 1:
        return numbers, pairs
    first = pairs[0]
    return [*numbers, NO_ROW], [*pairs, PairTokens(first.prompt, first.chosen, first.chosen)]


def ready(made: Any, setup: Setup) -> Any:
    """Return a trainer that knows its pairs and, of several processes, their order."""
    made.loss_is_scaled_for_ga = True  # compute_loss divides by the pairs of the whole step
    if setup.config.num_processes > 1:
        made.fill(len(setup.rows.ids), setup.config)
    return setup.watched(made)


def sequences(setup: Setup) -> Dataset:
    """Return pairs as CPO and ORPO tokenise them, but for a second end of turn."""
    numbers, rows = numbered(setup)
    data: dict[str, list[Any]] = {"row": numbers}
    for side in ("chosen", "rejected"):
        answers = [getattr(pair, side) for pair in rows]
        whole = [[*pair.prompt, *answer] for pair, answer in zip(rows, answers, strict=True)]
        data[f"{side}_input_ids"] = whole
        data[f"{side}_attention_mask"] = [[1] * len(ids) for ids in whole]
        data[f"{side}_labels"] = [
            [*[IGNORED] * len(pair.prompt), *answer]
            for pair, answer in zip(rows, answers, strict=True)
        ]
    return Dataset.from_dict(data)
