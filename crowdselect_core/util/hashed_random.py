"""Random draws that belong to a row, not to its place.

A draw is a hash of (seed, purpose, id), so it is the same whatever the order of the rows, the
shards or the workers, and the same on every machine.
"""

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
import polars as pl
from numpy.typing import NDArray


def uniform(ids: Iterable[str] | pl.Series, seed: int, purpose: str) -> NDArray[np.float64]:
    """Draw one number in [0, 1) per id, from a hash of (seed, purpose, id).

    Args:
        ids: what the draws belong to, e.g. instruction ids.
        seed: the run's seed.
        purpose: keeps draws apart that share a seed, e.g. "random" and "response".
    """
    copy, digests = blake2b(f"{seed}\n{purpose}\n".encode(), digest_size=8).copy, []
    for row_id in _bytes(ids):  # no call a row that is not needed: this is millions of rows
        one = copy()
        one.update(row_id)
        digests.append(one.digest())
    # 53 bits: every value is a float64 exactly, and none rounds up to 1.0
    return (np.frombuffer(b"".join(digests), dtype="<u8") >> np.uint64(11)) / np.float64(2**53)


def _bytes(ids: Iterable[str] | pl.Series) -> Iterable[bytes]:
    """Return ids in UTF-8; those of a column are encoded already."""
    if isinstance(ids, pl.Series):
        return ids.cast(pl.Binary).to_list()
    return (row_id.encode("utf-8", "surrogatepass") for row_id in ids)
