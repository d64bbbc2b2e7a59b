"""Stage `annotations`: what a model says of every row that may be chosen, for the config's method.

What it says of a row is a cell of the call cache, named by the row's prompt and, where that is
read, the answer that would be kept: the same row in another data set is annotated once.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from hashlib import sha256
from typing import Any

import numpy as np
import polars as pl

from crowdselect_core.annotate.base import Annotation, Annotator, Row
from crowdselect_core.annotate.factory import cache_spec, kind_of
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import DamagedArtifact
from crowdselect_core.generate.base import Failure
from crowdselect_core.generate.call_tracker import CallTracker, TooManyFailures
from crowdselect_core.generate.in_flight import in_flight_of
from crowdselect_core.ingest.prompts import prompt_key
from crowdselect_core.stages.base import Stage
from crowdselect_core.stages.crowd.throughput import write_pace
from crowdselect_core.stages.methods.kept_rows import KeptRowReader, KeptRows, kept_identity
from crowdselect_core.stages.methods.nonsense import Nonsense
from crowdselect_core.stages.refs import Ref
from crowdselect_core.stages.select.ranking import list_identity, listed_rows
from crowdselect_core.stages.shards import by_shard
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.cache.call_cache import CallCache
from crowdselect_core.store.cache.key_index import Keys, as_keys, cell_key
from crowdselect_core.store.cache.work_sharing import WorkSharing
from crowdselect_core.store.cache.writer import CacheWriter
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import Plan, ShardResult

STAGE, VERSION = "annotations", 1
READ = 10_000  # annotations that are read at a time


def spec(
    config: SelectConfig,
    scores: Ref,
    metrics: Ref,
    answers: Ref,
    failed: Mapping[bytes, str] = {},
) -> Spec:
    """Name the artifact: the rows, which answer is kept, who annotates.

    Raises:
        UserError: the model is not there, or a list of ids cannot be read.
    """
    identity: dict[str, Any] = {"cells": cache_spec(config).key} | list_identity(config)
    inputs = {"answers": answers.key}
    if kind_of(config).reads_response:
        identity["response"] = kept_identity(config)
        inputs["metrics"] = metrics.key
    if targets := kind_of(config).targets(config):
        identity["targets"] = sha256(b"".join(t.key for t in targets)).hexdigest()
    if failed:
        identity["failed"] = sha256(b"".join(sorted(failed))).hexdigest()
    return Spec(STAGE, VERSION, identity, inputs)


def annotate(
    config: SelectConfig,
    store: Store,
    scores: Ref,
    metrics: Ref,
    answers: Ref,
    annotator: Annotator,
    report: Callable[[CallTracker], None],
) -> CallTracker:
    """Annotate every row that the store has no annotation of; they are committed as they come.

    Args:
        config: the data set and the method.
        store: where cells are.
        scores: of the rows.
        metrics: of the rows.
        answers: of the rows.
        annotator: what annotates.
        report: called before the first annotation and after every one.

    Raises:
        TooManyFailures: more calls failed than may, or too many replies could not be read.
    """
    work = _Work(config, store, scores, metrics, answers)
    wanted, present = work.count()
    in_flight = in_flight_of(annotator)
    calls = CallTracker(config.method, wanted, present, config.max_failure_rate, report, in_flight)
    nonsense = Nonsense(config.method, limit := work.kind.max_unparsed(config))
    if wanted:
        _ask(work, store, annotator, calls, nonsense)
    if limit < 1:
        nonsense.check(work.errors())
    return calls


def _ask(
    work: "_Work", store: Store, annotator: Annotator, calls: CallTracker, nonsense: Nonsense
) -> None:
    calls.report(calls)
    with CacheWriter(work.cells) as writer, work.cells.work_sharing() as sharing:
        rows = work.missing(sharing, lambda: calls.slowest)
        annotator.run(calls.timed(rows), partial(_take, calls, writer, nonsense, work.width))
    work.cells.merge(all_small=True)
    if calls.answered:
        write_pace(store, work.cells.spec, calls)
    if calls.breached:
        raise TooManyFailures(calls.complaint())


def _take(
    calls: CallTracker, writer: CacheWriter, nonsense: Nonsense, width: int, said: Annotation
) -> None:
    calls.finished(said.key)
    if said.cell or said.failure is Failure.ROW:
        writer.add((said.key, *(said.cell or (None,) * width), said.error))
    if said.failure is None:
        calls.success()
        nonsense.read()
        return
    error = said.error or "unknown: no reason is given"
    calls.failure(said.key, error, said.failure)
    if said.failure is Failure.ROW:
        nonsense.failed(error)


def plan(
    config: SelectConfig,
    store: Store,
    scores: Ref,
    metrics: Ref,
    answers: Ref,
    failed: Mapping[bytes, str] = {},
) -> Plan:
    """Lay out what the method reads of every row's annotation, shard by shard of the scores.

    Output columns: instruction_id (rows that may be chosen alone), what the method ranks by (see
    `annotate.factory`), lacks (why a row has nothing usable; null where it has).
    Counts: the rows by their reason.
    """
    work = _Work(config, store, scores, metrics, answers)
    work.cells.refresh()

    def shard(frame: pl.DataFrame) -> ShardResult:
        table = work.table(frame, failed)
        codes = table["lacks"].drop_nulls().value_counts().sort("lacks")
        return ShardResult(table, {f"lacks/{code}": int(n) for code, n in codes.iter_rows()})

    return by_shard(scores.open(store), shard)


ANNOTATIONS = Stage("annotations", "Write the table of what a model says of every row.", spec, plan)


class _Work:
    """The rows of a method with the keys of their annotations."""

    def __init__(
        self, config: SelectConfig, store: Store, scores: Ref, metrics: Ref, answers: Ref
    ) -> None:
        self.config, self.kind = config, kind_of(config)
        self.width = len(self.kind.cell)
        self._targets = self.kind.targets(config)
        columns = {**self.kind.cell, "error": pl.String}
        self.cells = CallCache(store, cache_spec(config), columns)
        self._scores = scores.open(store)
        ids = listed_rows(config)
        self._reader = KeptRowReader(config, store, scores, metrics, answers, ids)

    def count(self) -> tuple[int, int]:
        """Count the rows that lack an annotation, and those that have one."""
        self.cells.refresh()
        wanted = int(self.cells.missing(self._keys).sum())
        return wanted, len(self._keys) - wanted

    def errors(self) -> pl.Series:
        """Return the error of every row that has an annotation, null where it has none."""
        self.cells.refresh()
        starts = range(0, len(self._keys), READ)
        parts = [self.cells.read(self._keys[at : at + READ])["error"] for at in starts]
        return pl.concat([pl.Series("error", [], pl.String), *parts])

    @cached_property
    def _keys(self) -> Keys:
        """The keys of all rows and targets, each once."""
        keys = [k for _, found in self._shards() for k in found if k is not None]
        keys += [target.key for target in self._targets]
        return np.unique(as_keys(keys))

    def missing(self, sharing: WorkSharing, seconds: Callable[[], float]) -> Iterator[Row]:
        """Yield the rows without an annotation, each once; other processes have their share."""
        asked: set[bytes] = set()

        def lacking() -> bool:
            self.cells.refresh()
            left = (k for _, keys in self._shards() for k in self._left(keys))
            others = self._left([target.key for target in self._targets])
            return any(key not in asked for key in (*others, *left))

        for mine in sharing.rounds(lacking, seconds):
            for target in self._targets:
                if target.key not in asked and mine(target.key) and self._left([target.key]):
                    asked.add(target.key)
                    yield Row(target.key, target.messages, "", target.response)
            for found, keys in self._shards():
                self.cells.refresh()
                left = {key for key in self._left(keys) if key not in asked and mine(key)}
                for place, key in enumerate(keys):
                    if key in left and key not in asked:
                        asked.add(key)
                        yield _row(key, found, place)

    def table(self, frame: pl.DataFrame, failed: Mapping[bytes, str]) -> pl.DataFrame:
        """Return what the method reads of the rows of a shard."""
        found, keys = self._keyed(frame)
        rows = pl.DataFrame({"key": pl.Series(keys, dtype=pl.Binary)})
        cells = self.cells.read(as_keys(k for k in keys if k is not None))
        table = rows.join(cells, on="key", how="left", maintain_order="left")
        extra = pl.DataFrame({"key": pl.Series([t.key for t in self._targets], dtype=pl.Binary)})
        told = self.cells.read(as_keys(t.key for t in self._targets))
        extra = extra.join(told, on="key", how="left", maintain_order="left").drop("key")
        known = set(cells["key"].to_list()) | failed.keys() | {None}
        if gone := sum(key not in known for key in keys):
            raise DamagedArtifact(
                f"{self.cells.spec.folder}: {gone} annotations vanished while they were read"
            )
        lost = pl.Series([failed.get(k) if k else None for k in keys], dtype=pl.String)
        table = table.with_columns(error=pl.coalesce("error", lost))
        values = self.kind.values(self.config, table.drop("key"), extra)
        return pl.concat([found.rows.select("instruction_id"), values], how="horizontal")

    def _shards(self) -> Iterator[tuple[KeptRows, list[bytes | None]]]:
        for index in range(len(self._scores.manifest.shards)):
            yield self._keyed(self._scores.shard(index))

    def _keyed(self, frame: pl.DataFrame) -> tuple[KeptRows, list[bytes | None]]:
        found = self._reader.of(frame, responses=self.kind.reads_response)
        return found, [self._key(found, place) for place in range(found.rows.height)]

    def _key(self, found: KeptRows, place: int) -> bytes | None:
        prompt, response = found.prompts[place], found.responses[place]
        if prompt is None or prompt.error is not None:
            return None
        if not self.kind.reads_response:
            return cell_key(prompt_key(prompt.messages))
        if response is None:
            return None
        return cell_key(prompt_key(prompt.messages), response.encode("utf-8", "surrogatepass"))

    def _left(self, keys: list[bytes | None]) -> list[bytes]:
        there = [key for key in keys if key is not None]
        lacks = self.cells.missing(as_keys(there))
        return [key for key, absent in zip(there, lacks.tolist(), strict=True) if absent]


def _row(key: bytes | None, found: KeptRows, place: int) -> Row:
    prompt = found.prompts[place]
    if key is None or prompt is None:
        raise ValueError("a row without a prompt is not annotated")
    return Row(key, prompt.messages, prompt.text, found.responses[place] or "")
