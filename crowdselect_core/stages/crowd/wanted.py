"""Which answers a data set wants of a model, and which of them have a cell.

The key of an answer's cell is made of the prompt and the number of the sample, not of the model. So
the keys of a data set are made once, sorted, and held against the sorted keys of each cache:
16 bytes and a shard's number for each answer, no Python object for any.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from threading import Lock
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from crowdselect_core.stages.crowd.responses import sample_keys
from crowdselect_core.stages.refs import Ref
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.cache.call_cache import CallCache
from crowdselect_core.store.cache.key_index import Keys, Numbers, as_sorted, column_keys

AT_ONCE = 1 << 20  # keys that are looked up at once


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Wanted:
    """The keys of the answers that a data set wants, each once, in their order.

    Attributes:
        first, last: the halves of the keys.
        shards: of the prompts: where a row with the prompt stands, the first of them.
    """

    first: Numbers
    last: Numbers
    shards: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.first)

    def lacking(self, cells: CallCache) -> tuple[int, list[int]]:
        """Return how many answers have no cell, and the shards where their prompts stand.

        Args:
            cells: refreshed.
        """
        count, shards = 0, set[int]()
        for start in range(0, len(self), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            absent = cells.missing_halves(self.first[part], self.last[part])
            count += int(absent.sum())
            shards.update(np.unique(self.shards[part][absent]).tolist())
        return count, sorted(shards)


def wanted_of(prompts: Iterable[Keys], n: int) -> Wanted:
    """Return the answers that are wanted: n samples of each prompt.

    Args:
        prompts: the prompts' keys, shard by shard, repeats among them.
        n: samples.
    """
    made, shards = [], []
    for index, keys in enumerate(prompts):
        for sample in range(n):
            made.append(sample_keys(keys, sample))
            shards.append(np.full(len(keys), index, dtype=np.int32))
    if not made:
        return Wanted(np.empty(0, np.uint64), np.empty(0, np.uint64), np.empty(0, np.int32))
    first, last, order = as_sorted(np.concatenate(made))
    made.clear()
    numbers = np.concatenate(shards)[order]
    new = np.ones(len(first), dtype=bool)
    new[1:] = (first[1:] != first[:-1]) | (last[1:] != last[:-1])
    return Wanted(first, last, numbers) if new.all() else Wanted(
        first[new], last[new], numbers[new]
    )  # fmt: skip


_shared: WeakValueDictionary[tuple[str, str, int], Wanted] = WeakValueDictionary()
_making = Lock()


def wanted(store: Store, prompts: Ref, n: int) -> Wanted:
    """Return what a data set wants; the models of a crowd that run at one time share it."""
    key = store.place.root, prompts.key, n
    with _making:
        found = _shared.get(key)
        if found is None:
            frames = prompts.open(store).frames(["prompt"])
            found = wanted_of((column_keys(frame["prompt"]) for frame in frames), n)
            _shared[key] = found
        return found
