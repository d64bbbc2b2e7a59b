"""Asking one crowd model for the answers that the store lacks."""

import random
import time
from collections.abc import Callable, Container, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from crowdselect_core.chat import Message
from crowdselect_core.config.crowd import CrowdModel
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.generate.base import Answer, Engine, Failure, Request, checked
from crowdselect_core.generate.call_tracker import CallTracker, TooManyFailures
from crowdselect_core.generate.in_flight import in_flight_of
from crowdselect_core.ingest.dataset import Dataset
from crowdselect_core.ingest.prompts import Prompt
from crowdselect_core.stages.crowd.answer_texts import open_cells
from crowdselect_core.stages.crowd.prompts import prompt_batches
from crowdselect_core.stages.crowd.responses import sample_key, sample_keys
from crowdselect_core.stages.crowd.throughput import write_pace
from crowdselect_core.stages.crowd.wanted import wanted, wanted_of
from crowdselect_core.stages.partitions import open_dataset
from crowdselect_core.stages.refs import Ref
from crowdselect_core.store.artifacts import Artifact, Store
from crowdselect_core.store.cache.call_cache import CallCache
from crowdselect_core.store.cache.key_index import Keys, as_bytes, as_keys, column_keys
from crowdselect_core.store.cache.work_sharing import WorkSharing
from crowdselect_core.store.cache.writer import CacheWriter

REFRESH_SECONDS = 2.0  # between looks at what another process has committed


def generate(
    config: SelectConfig,
    store: Store,
    prompts: Ref,
    model: CrowdModel,
    engine: Engine,
    report: Callable[[CallTracker], None],
) -> CallTracker:
    """Ask for every answer that the store lacks; answers are committed as they come.

    Args:
        config: of the given data set.
        store: where cells and prompts are.
        prompts: the prompts.
        model: who answers.
        engine: through what.
        report: called before the first call and after every one.

    Raises:
        TooManyFailures: more calls failed than may.
    """
    dataset, artifact = open_dataset(config), prompts.open(store)
    cells = open_cells(store, model)
    cells.refresh()
    want = wanted(store, prompts, model.sampling.n)
    missing, open_shards = want.lacking(cells)
    cells.save_index()
    calls = CallTracker(
        model.name, missing, len(want) - missing, config.max_failure_rate, report,
        in_flight_of(engine),
    )  # fmt: skip
    if not missing:
        return calls
    report(calls)
    in_flight: set[bytes] = set()

    def requests(sharing: WorkSharing) -> Iterator[Request]:
        # Processes that answer for one store share the rows, and each goes through the shards in
        # an order of its own; what the others have committed is seen.
        order = list(open_shards)
        lacking = partial(
            _lacking, artifact, open_shards, cells, model.sampling.n, (in_flight, calls.failed)
        )
        for mine in sharing.rounds(lacking, lambda: calls.slowest):
            random.shuffle(order)
            failed = set(calls.failed)  # in an earlier round: this run has tried
            for index in order:
                rows = artifact.shard(index).filter(pl.col("prompt").is_not_null())
                for request in _requests(dataset, rows, model, cells, mine, in_flight):
                    if request.key in failed:
                        in_flight.discard(request.key)
                    else:
                        yield request

    def committed(rows: list[tuple[Any, ...]]) -> None:
        in_flight.difference_update(row[0] for row in rows)

    with CacheWriter(cells, committed) as writer, cells.work_sharing() as sharing:
        engine.run(calls.timed(requests(sharing)), partial(_take, calls, writer, in_flight))
    cells.merge(all_small=True)
    if calls.answered:
        write_pace(store, cells.spec, calls)
    if calls.breached:
        raise TooManyFailures(calls.complaint())
    return calls


def count(cells: CallCache, prompts: Sequence[Keys], n: int) -> tuple[int, int]:
    """Count the answers that lack a cell and those that have one, of n samples of each prompt.

    Args:
        cells: refreshed.
        prompts: the prompts' keys, repeats among them; 20 bytes for each sample are held.
        n: samples.
    """
    want = wanted_of(prompts, n)
    missing, _ = want.lacking(cells)
    return missing, len(want) - missing


def _lacking(
    artifact: Artifact,
    shards: Sequence[int],
    cells: CallCache,
    n: int,
    asked: Sequence[Container[bytes]],
) -> bool:
    """Look whether an answer lacks that was not asked for."""
    cells.refresh()
    for index in shards:
        for keys in _sample_keys(artifact.shard(index)["prompt"], n):
            for key in as_bytes(keys[cells.missing(keys)]):
                if not any(key in those for those in asked):
                    return True
    return False


def _take(calls: CallTracker, writer: CacheWriter, in_flight: set[bytes], given: Answer) -> None:
    answer = checked(given)
    calls.finished(answer.key)
    if answer.error is None or answer.failure is Failure.ROW:
        writer.add(
            (
                answer.key, answer.text, answer.reasoning, answer.finish_reason,
                answer.prompt_tokens, answer.completion_tokens, answer.error,
            )
        )  # fmt: skip
    if answer.error is None:
        calls.success(answer.prompt_tokens, answer.completion_tokens)
    else:
        if answer.failure is not Failure.ROW:
            in_flight.discard(answer.key)
        calls.failure(answer.key, answer.error, answer.failure)


def _requests(
    dataset: Dataset,
    rows: pl.DataFrame,
    model: CrowdModel,
    cells: CallCache,
    mine: Callable[[bytes], bool],
    in_flight: set[bytes],
) -> Iterator[Request]:
    """Yield the requests of some rows that are ours now and that no cell answers.

    Nothing is read where none is left.

    A key that is asked for stays in `in_flight` until its answer is committed, so that a prompt
    that stands on several rows is asked once.
    """
    cells.refresh()
    looked = time.monotonic()
    open_rows = np.zeros(rows.height, dtype=bool)
    for sampled in _sample_keys(rows["prompt"], model.sampling.n):
        open_rows |= cells.missing(sampled)
    left = rows.filter(open_rows)
    left = left.filter(pl.Series(map(mine, left["prompt"].to_list()), dtype=pl.Boolean))
    keys_N = left["prompt"].to_list()
    for places, prompts in prompt_batches(dataset, left, shuffled=True):
        batch = list(zip(places, prompts, strict=True))
        start = random.randrange(len(batch)) if batch else 0  # noqa: S311 - no secret
        for sample in range(model.sampling.n):
            keys = [sample_key(keys_N[place], sample) for place, _ in batch]
            missing = cells.missing(as_keys(keys))
            for i in [*range(start, len(batch)), *range(start)]:
                if not missing[i] or keys[i] in in_flight:
                    continue
                if time.monotonic() - looked > REFRESH_SECONDS:
                    cells.refresh()
                    looked = time.monotonic()
                if cells.missing(as_keys([keys[i]]))[0] and mine(keys_N[batch[i][0]]):
                    in_flight.add(keys[i])
                    yield Request(keys[i], messages_of(batch[i][1], model), seed_of(model, sample))


def messages_of(prompt: Prompt, model: CrowdModel) -> tuple[Message, ...]:
    """Return what a model is asked: the prompt, behind the model's system prompt if it has none."""
    if model.system_prompt is None or prompt.messages[0]["role"] == "system":
        return prompt.messages
    return ({"role": "system", "content": model.system_prompt}, *prompt.messages)


def seed_of(model: CrowdModel, sample: int) -> int | None:
    """Return the seed of one sample."""
    seed = model.sampling.seed
    return None if seed is None else (seed + sample) % 2**32


def _sample_keys(prompts: pl.Series, n: int) -> Iterator[Keys]:
    present = column_keys(prompts)
    for sample in range(n):
        yield sample_keys(present, sample)
