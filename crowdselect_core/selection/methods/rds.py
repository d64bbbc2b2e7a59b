"""RDS+: rows that resemble examples of the target task, each target taking its turn.

Source: Ivison et al., arXiv 2503.01807. Array names carry their shape: E rows in id order,
B rows of a block, T targets, K of a target's most similar rows.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Keys = NDArray[np.uint64]
Block = tuple[Ints, NDArray[np.float32]]  # places_B in E, similarities_BT

DEPTH = 1_024  # rows of each target that are looked for first
DEEPER = 4  # times as many, where targets run out of rows that others have not taken


def round_robin(blocks: Callable[[], Iterable[Block]], highest_E: Floats, picks: int) -> Floats:
    """Return scores by which rows stand in the order of the picks, the others behind them.

    Target after target takes the row that is most similar to it among those not yet taken, the
    earlier one of two that are equally similar, until `picks` rows are taken. The row that is taken
    n-th scores picks - n + 1 (so at least 1); a row that is not taken scores its greatest
    similarity - 1 (so at most 0).

    Args:
        blocks: gives all rows with their cosines to the targets, in any order and as often as it
            is called.
        highest_E: their greatest similarity.
        picks: how many rows are taken, at most all.

    Returns:
        scores_E. Memory: 16 bytes for each target x DEPTH, or x picks in the worst case, where all
        targets resemble the same rows.
    """
    picks = min(picks, len(highest_E))
    scores_E: Floats = highest_E - 1.0
    depth = min(picks, DEPTH)
    while picks:
        order = _turns(_most_similar(blocks(), depth), picks)
        if order is not None:
            scores_E[order] = np.arange(len(order), 0, -1)
            break
        depth = min(picks, DEEPER * depth)  # with as many as picks no target runs out
    return scores_E


def _turns(rows_TK: Sequence[Ints], picks: int) -> list[int] | None:
    """Return the rows in the order in which targets take them, None where one has no row left."""
    left_T = [iter(rows_K.tolist()) for rows_K in rows_TK]
    taken: dict[int, None] = {}
    for number in range(picks):
        row = next((r for r in left_T[number % len(left_T)] if r not in taken), None)
        if row is None:
            return None
        taken[row] = None
    return list(taken)


def _most_similar(blocks: Iterable[Block], depth: int) -> list[Ints]:
    """Return of every target the places of its most similar rows, the best first."""
    best_T: list[_Best] = []
    for places_B, similarities_BT in blocks:
        keys_TB = _keys(places_B, similarities_BT)
        best_T = best_T or [_Best(depth) for _ in keys_TB]
        for best, keys_B in zip(best_T, keys_TB, strict=True):
            best.add(keys_B)
    return [best.places() for best in best_T]


def _keys(places_B: Ints, similarities_BT: NDArray[np.float32]) -> Keys:
    """Return keys_TB that sort as rows do: the most similar first, then the earlier place.

    The bits of a float sort as it does once those of a negative one are inverted and the sign bit
    of another is set; a place is in the lower half.
    """
    similarities_TB = np.ascontiguousarray(similarities_BT.T, dtype=np.float32)
    bits_TB = (similarities_TB + np.float32(0)).view(np.uint32)  # -0.0 becomes 0.0
    rising_TB = np.where(bits_TB >> 31, ~bits_TB, bits_TB | np.uint32(1 << 31))
    keys_TB: Keys = (~rising_TB).astype(np.uint64) << np.uint64(32)
    return keys_TB | places_B.astype(np.uint64)


class _Best:
    """The smallest keys of those added; holds at most twice as many and one block's."""

    def __init__(self, depth: int) -> None:
        self._depth, self._held = depth, 0
        self._parts: list[Keys] = []
        self._limit: np.uint64 | None = None  # the greatest key that may still count

    def add(self, keys_B: Keys) -> None:
        """Take those of the keys that may be among the smallest."""
        wanted = keys_B.copy() if self._limit is None else keys_B[keys_B < self._limit]
        self._parts.append(wanted)
        self._held += len(wanted)
        if self._held >= 2 * self._depth:
            self._parts = [self._smallest()]
            self._held, self._limit = self._depth, self._parts[0].max()

    def places(self) -> Ints:
        """Return the places of the smallest keys, in their order."""
        return (np.sort(self._smallest()) & np.uint64((1 << 32) - 1)).astype(np.int64)

    def _smallest(self) -> Keys:
        keys: Keys = np.concatenate(self._parts)
        if len(keys) > self._depth:
            keys = np.partition(keys, self._depth - 1)[: self._depth].copy()
        return keys
