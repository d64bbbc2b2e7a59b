"""The held-out losses of several models, aggregated over the same rows.

    loss         = sum over rows of -log p(answer | prompt) / sum over rows of their answer tokens
    loss_per_row = mean over rows of (-log p(answer | prompt) / answer tokens)

in nats. The interval is a 95 % percentile bootstrap over rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from crowdselect_core.errors import EvaluationError
from crowdselect_core.evaluate.tally import Outcome, Part, Tally, as_results


class RowLoss(NamedTuple):
    """The loss of one answer: nats over all of its tokens, and how many there are."""

    nats: float
    tokens: int


@dataclass(frozen=True)
class Losses:
    """The losses of one model by row, and the rows that are longer than max_length."""

    by_row: Mapping[str, RowLoss]
    too_long: Sequence[str] = ()
    max_length: int = 0


def evaluate(losses: Mapping[str, Losses], seed: int) -> Outcome:
    """Aggregate the losses of several models on the same rows.

    Args:
        losses: by the model's name.
        seed: of the bootstrap.

    Raises:
        EvaluationError: a model has a loss of no row.
    """
    by_token: list[Part] = []
    by_row: list[Part] = []
    for name, found in losses.items():
        if not found.by_row:
            raise EvaluationError(
                f"heldout-loss of {name}: all {len(found.too_long)} held-out rows have more than "
                f"{found.max_length:,} tokens: raise max_length"
            )
        for row_id, loss in found.by_row.items():
            mean = loss.nats / loss.tokens
            by_token.append(Part(name, row_id, mean, float(loss.tokens)))
            by_row.append(Part(name, row_id, mean))
    notes = _too_long(losses)
    if len({frozenset((r, n.tokens) for r, n in f.by_row.items()) for f in losses.values()}) > 1:
        notes.append(
            "heldout-loss: the models do not share a tokenizer and template, or not the same rows, "
            "so their losses per token cannot be compared"
        )
    results = []
    for metric, parts in (("loss", by_token), ("loss_per_row", by_row)):
        tally = Tally.of(parts)
        results += as_results(tally, metric, None, None, tally.value_M, tally.bounds(seed))
    return Outcome(results, notes)


def _too_long(losses: Mapping[str, Losses]) -> list[str]:
    """Say how many rows are left out, once for the models that leave out the same ones."""
    models: dict[tuple[frozenset[str], int, int], list[str]] = {}
    for name, found in losses.items():
        if found.too_long:
            same = (frozenset(found.too_long), len(found.by_row), found.max_length)
            models.setdefault(same, []).append(name)
    return [
        f"heldout-loss: {len(rows):,} of {len(rows) + measured:,} rows have more than "
        f"{max_length:,} tokens for {' and '.join(names)} and are left out"
        for (rows, measured, max_length), names in models.items()
    ]
