"""What the trainers of preference pairs share: batches, and the mean over the pairs of a step."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from datasets import Dataset

from crowdselect_core.finetune.chat_turns import IGNORED
from crowdselect_core.finetune.pair_rows import PairTokens
from crowdselect_core.finetune.trainers.common import Watched

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


class PairTrainer(Watched):
    """A trainer whose loss of a step is the mean over its pairs, however they are batched.

    TRL takes the mean of each batch and then the mean of the batches, in which a pair of a smaller
    last batch would count more.
    """

    loss_is_scaled_for_ga = True  # by compute_loss, which divides by the pairs of the whole step
    accelerator: Any

    def _get_num_items_in_batch(self, batch_samples: Sequence[Batch], device: Any) -> Any:
        """Return the pairs of a step, in all processes."""
        pairs = torch.tensor(sum(len(batch["rows"]) for batch in batch_samples), device=device)
        return self.accelerator.gather(pairs).sum()

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
        pairs = len(inputs["rows"])
        loss = super().compute_loss(model, inputs, False, None)
        if num_items_in_batch is None:
            return loss
        return loss * (pairs * self.accelerator.num_processes / num_items_in_batch)


def sequences(rows: Sequence[PairTokens]) -> Dataset:
    """Return pairs as CPO and ORPO tokenise them, but for a second end of turn."""
    data: dict[str, list[Any]] = {"row": list(range(len(rows)))}
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
