"""Stage `annotations`: what a model says of every row that may be chosen, for the config's method.

What it says of a row is a cell of the call cache, named by the row's prompt and, where that is
read, the answer that would be kept: the same row in another data set is annotated once.
"""

from collections.abc import Callable, Mapping
from functools import partial
from hashlib import sha256
from typing import Any

import polars as pl

from crowdselect_core.annotate.base import Annotation, Annotator
from crowdselect_core.annotate.factory import cache_spec, kind_of
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.generate.base import Failure
from crowdselect_core.generate.call_tracker import CallTracker
from crowdselect_core.generate.in_flight import in_flight_of
from crowdselect_core.stages.base import Stage
from crowdselect_core.stages.crowd.finished_calls import finish
from crowdselect_core.stages.methods.annotated_rows import AnnotatedRows, cells_of
from crowdselect_core.stages.methods.kept_rows import kept_identity
from crowdselect_core.stages.methods.nonsense import Nonsense
from crowdselect_core.stages.refs import Ref
from crowdselect_core.stages.select.listed import list_identity
from crowdselect_core.stages.shards import by_shard
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.cache.work_sharing import Alone
from crowdselect_core.store.cache.writer import CacheWriter
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import Plan, ShardResult

STAGE, VERSION = "annotations", 1


def spec(
    config: SelectConfig,
    scores: Ref,
    metrics: Ref,
    answers: Ref,
    failed: Mapping[bytes, str] = {},
    model: Ref | None = None,
) -> Spec:
    """Name the artifact: the rows, which answer is kept, who annotates.

    Raises:
        UserError: the model is not there, or a list of ids cannot be read.
    """
    identity: dict[str, Any] = {
        "cells": cache_spec(config, model.key if model else None).key
    } | list_identity(config)
    inputs = {"answers": answers.key}
    if kind_of(config).reads_response:
        identity["response"] = kept_identity(config)
        inputs["metrics"] = metrics.key
    if targets := kind_of(config).targets(config):
        identity["targets"] = sha256(b"".join(t.key for t in targets)).hexdigest()
    if failed:
        identity["failed"] = sha256(b"".join(sorted(failed))).hexdigest()
    return Spec(STAGE, VERSION, identity, inputs)


def stored(config: SelectConfig, store: Store) -> bool:
    """Tell whether the store has annotations by the config's method, of whatever rows."""
    return not cells_of(config, store).is_empty


def annotate(
    config: SelectConfig,
    store: Store,
    scores: Ref,
    metrics: Ref,
    answers: Ref,
    annotator: Annotator,
    report: Callable[[CallTracker], None],
    model: Ref | None = None,
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
        model: what the method's model was trained to first.

    Raises:
        TooManyFailures: more calls failed than may, or too many replies could not be read.
    """
    work = AnnotatedRows(config, store, scores, metrics, answers, model)
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
    work: AnnotatedRows, store: Store, annotator: Annotator, calls: CallTracker, nonsense: Nonsense
) -> None:
    calls.report(calls)
    with CacheWriter(work.cells) as writer, work.cells.work_sharing() as sharing:
        rows = work.missing(sharing, lambda: calls.slowest)
        annotator.run(calls.timed(rows), partial(_take, calls, writer, nonsense, work.width))
    finish(store, work.cells, calls)


def annotate_shard(
    config: SelectConfig, work: AnnotatedRows, annotator: Annotator, index: int
) -> CallTracker:
    """Annotate the rows of one shard that have no annotation, all by this process.

    Whoever shares the shards out decides whether too many calls failed: a few of one shard say
    little of the whole.

    Args:
        config: the data set and the method.
        work: all its rows.
        annotator: what annotates.
        index: of the shard.

    Raises:
        TooManyFailures: nothing succeeds any more.
    """
    own = work.of_shard(index)
    wanted, present = own.count()
    calls = CallTracker(config.method, wanted, present, 1.0, lambda _: None)
    if wanted:
        nonsense = Nonsense(config.method, 1.0)
        with CacheWriter(own.cells) as writer:
            rows = own.missing(Alone(), lambda: calls.slowest)
            annotator.run(calls.timed(rows), partial(_take, calls, writer, nonsense, own.width))
    return calls


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
    model: Ref | None = None,
) -> Plan:
    """Lay out what the method reads of every row's annotation, shard by shard of the scores.

    Output columns: instruction_id (rows that may be chosen alone), what the method ranks by (see
    `annotate.factory`), lacks (why a row has nothing usable; null where it has).
    Counts: the rows by their reason.
    """
    work = AnnotatedRows(config, store, scores, metrics, answers, model)
    work.cells.refresh()

    def shard(frame: pl.DataFrame) -> ShardResult:
        table = work.table(frame, failed)
        codes = table["lacks"].drop_nulls().value_counts().sort("lacks")
        return ShardResult(table, {f"lacks/{code}": int(n) for code, n in codes.iter_rows()})

    return by_shard(scores.open(store), shard)


ANNOTATIONS = Stage("annotations", "Write the table of what a model says of every row.", spec, plan)
