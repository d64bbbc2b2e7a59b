"""The order of rows for several processes, of which each must get as many batches.

Accelerate fills the last batches of an epoch with its first rows, which would then count twice.
Here an empty row fills them, which is not trained: so the losses and the gradients of a step are
those of one process.
"""

from collections.abc import Iterator
from typing import Any

from accelerate.data_loader import SeedableRandomSampler  # type: ignore[import-untyped]
from torch.utils.data import Sampler

from crowdselect_core.config.finetune import TrainingConfig


class FilledSampler(Sampler[int]):
    """The rows of an epoch in random order, then the empty row until all processes have as many.

    Args:
        rows: how many there are; the empty row is number `rows`.
        seed: of the order; the same as accelerate's own for one process.
        together: rows that all processes compute at once.
    """

    def __init__(self, rows: int, seed: int, together: int) -> None:
        self._inner: Any = SeedableRandomSampler(range(rows), data_seed=seed)
        self._rows, self._empty = rows, -rows % together

    def __iter__(self) -> Iterator[int]:
        yield from self._inner
        yield from [self._rows] * self._empty

    def __len__(self) -> int:
        return self._rows + self._empty

    def set_epoch(self, epoch: int) -> None:
        """Set the pass over the rows, which changes their order."""
        self._inner.set_epoch(epoch)


class Filled:
    """A trainer whose rows come in the order of a FilledSampler, where several processes train."""

    filled: FilledSampler | None = None

    def fill(self, rows: int, config: TrainingConfig) -> None:
        """Fill the last batches of an epoch with the empty row, whose number is `rows`."""
        at_once = config.per_device_train_batch_size * config.num_processes
        self.filled = FilledSampler(rows, config.seed, at_once)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        base: Any = super()
        return base._get_train_sampler(train_dataset) if self.filled is None else self.filled
