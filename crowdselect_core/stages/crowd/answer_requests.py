"""What one crowd model is still to be asked: the prompts whose answers have no cell."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from crowdselect_core.chat import Message
from crowdselect_core.config.crowd import CrowdModel
from crowdselect_core.generate.base import Request
from crowdselect_core.generate.call_tracker import CallTracker
from crowdselect_core.ingest.dataset import Dataset
from crowdselect_core.ingest.prompts import Prompt
from crowdselect_core.stages.crowd.prompts import prompt_batches
from crowdselect_core.stages.crowd.responses import sample_key, sample_keys
from crowdselect_core.store.artifacts import Artifact
from crowdselect_core.store.cache.call_cache import CallCache
from crowdselect_core.store.cache.key_index import Keys, as_bytes, as_keys, column_keys
from crowdselect_core.store.cache.work_sharing import Sharing

REFRESH_SECONDS = 2.0  # between looks at what another process has committed


class AnswerRequests:
    """The requests of one model that no cell answers.

    A key that is asked for stays in flight until its answer is committed, so that a prompt that
    stands on several rows is asked once.

    Args:
        dataset: where the prompts' texts are.
        prompts: the prompts.
        model: who answers.
        cells: its answers.
        shards: of the prompts: those where answers lack.
    """

    def __init__(
        self,
        dataset: Dataset,
        prompts: Artifact,
        model: CrowdModel,
        cells: CallCache,
        shards: Sequence[int],
    ) -> None:
        self._dataset, self._prompts, self._model = dataset, prompts, model
        self._cells, self._shards = cells, shards
        self._in_flight: set[bytes] = set()
        self._looked = time.monotonic()

    def requests(self, sharing: Sharing, calls: CallTracker) -> Iterator[Request]:
        """Yield what is to be asked now.

        Processes that answer for one store share the rows, and each goes through the shards in an
        order of its own; what the others have committed is seen.

        Args:
            sharing: entered.
            calls: of this run; what failed in an earlier round is not asked again.
        """
        order = list(self._shards)
        for mine in sharing.rounds(partial(self._lacking, calls), lambda: calls.slowest):
            random.shuffle(order)
            failed = set(calls.failed)  # in an earlier round: this run has tried
            for index in order:
                rows = self._prompts.shard(index).filter(pl.col("prompt").is_not_null())
                for request in self._of(rows, mine):
                    if request.key in failed:
                        self._in_flight.discard(request.key)
                    else:
                        yield request

    def committed(self, rows: list[tuple[Any, ...]]) -> None:
        """Take note of cells (their keys come first) that are committed."""
        self._in_flight.difference_update(row[0] for row in rows)

    def unanswered(self, key: bytes) -> None:
        """Take note that a request brought no answer: it may be asked again."""
        self._in_flight.discard(key)

    def _lacking(self, calls: CallTracker) -> bool:
        """Look whether an answer lacks that was not asked for."""
        self._cells.refresh()
        for index in self._shards:
            for keys in self._sample_keys(self._prompts.shard(index)["prompt"]):
                for key in as_bytes(keys[self._cells.missing(keys)]):
                    if key not in self._in_flight and key not in calls.failed:
                        return True
        return False

    def _of(self, rows: pl.DataFrame, mine: Callable[[bytes], bool]) -> Iterator[Request]:
        """Yield the requests of some rows that are ours now and that no cell answers.

        Nothing is read where none is left.
        """
        self._refresh()
        open_rows = np.zeros(rows.height, dtype=bool)
        for keys in self._sample_keys(rows["prompt"]):
            open_rows |= self._cells.missing(keys)
        left = rows.filter(open_rows)
        left = left.filter(pl.Series(map(mine, left["prompt"].to_list()), dtype=pl.Boolean))
        keys_N = left["prompt"].to_list()
        for places, prompts in prompt_batches(self._dataset, left, shuffled=True):
            batch = [(keys_N[place], p) for place, p in zip(places, prompts, strict=True)]
            yield from self._of_batch(batch, mine)

    def _of_batch(
        self, batch: Sequence[tuple[bytes, Prompt]], mine: Callable[[bytes], bool]
    ) -> Iterator[Request]:
        """Yield the requests of prompts, each with its key; from a random one on, sample by sample.

        What another process has committed in the meantime is left out.
        """
        start = random.randrange(len(batch)) if batch else 0  # noqa: S311 - no secret
        for sample in range(self._model.sampling.n):
            keys = [sample_key(prompt_key, sample) for prompt_key, _ in batch]
            missing = self._cells.missing(as_keys(keys))
            for i in [*range(start, len(batch)), *range(start)]:
                if not missing[i] or keys[i] in self._in_flight:
                    continue
                if time.monotonic() - self._looked > REFRESH_SECONDS:
                    self._refresh()
                prompt_key, prompt = batch[i]
                if self._cells.missing(as_keys([keys[i]]))[0] and mine(prompt_key):
                    self._in_flight.add(keys[i])
                    messages = messages_of(prompt, self._model)
                    yield Request(keys[i], messages, seed_of(self._model, sample))

    def _refresh(self) -> None:
        """Look what has been committed."""
        self._cells.refresh()
        self._looked = time.monotonic()

    def _sample_keys(self, prompts: pl.Series) -> Iterator[Keys]:
        present = column_keys(prompts)
        for sample in range(self._model.sampling.n):
            yield sample_keys(present, sample)


def messages_of(prompt: Prompt, model: CrowdModel) -> tuple[Message, ...]:
    """Return what a model is asked: the prompt, behind the model's system prompt if it has none."""
    if model.system_prompt is None or prompt.messages[0]["role"] == "system":
        return prompt.messages
    return ({"role": "system", "content": model.system_prompt}, *prompt.messages)


def seed_of(model: CrowdModel, sample: int) -> int | None:
    """Return the seed of one sample."""
    seed = model.sampling.seed
    return None if seed is None else (seed + sample) % 2**32
