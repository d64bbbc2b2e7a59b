"""Batches of token ids for models that run in this process: sorted by length, padded, masked.

Imported only where torch is. Array names carry their shape: B rows of a batch, S positions.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from crowdselect_core.errors import ConfigError


def by_length(
    lengths: Sequence[int], *, rows: int | None = None, tokens: int | None = None
) -> Iterator[list[int]]:
    """Yield batches of row numbers, longest rows first, so that little is padded.

    Args:
        lengths: tokens of every row.
        rows: most rows of a batch.
        tokens: most padded tokens of a batch (rows times the longest); a row that is longer by
            itself is a batch of its own.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    batch: list[int] = []
    for row in order:
        widest = lengths[batch[0]] if batch else lengths[row]
        full = rows is not None and len(batch) >= rows
        heavy = tokens is not None and (len(batch) + 1) * widest > tokens
        if batch and (full or heavy):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def pad(
    rows: Sequence[Sequence[int]], value: int, *, left: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad token ids to one length on one side and return ids_BS with mask_BS."""
    width = max(map(len, rows))
    ids_BS = torch.full((len(rows), width), value)
    mask_BS = torch.zeros((len(rows), width), dtype=torch.long)
    for b, row in enumerate(rows):
        where = slice(width - len(row), width) if left else slice(0, len(row))
        ids_BS[b, where] = torch.tensor(row)
        mask_BS[b, where] = 1
    return ids_BS, mask_BS


def device_of(name: str | None) -> torch.device:
    """Return the device that is named, or the best one that is here.

    Raises:
        ConfigError: no such device.
    """
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"device {name!r} is none, expected cpu, cuda or cuda:0") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device {name!r}: this machine's torch sees no GPU; leave device out")
    return device


def dtype_of(name: str) -> Any:
    """Return torch's dtype of a name; 'auto' stays: the one that the weights are stored in."""
    return name if name == "auto" else getattr(torch, name)
