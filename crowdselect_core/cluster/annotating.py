"""Annotations by a method's model on a Ray cluster: IFD, and the hidden states of rds+."""

from collections.abc import Callable

from crowdselect_core.annotate.factory import annotates, kind_of
from crowdselect_core.cluster import cached_calls
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.generate.call_tracker import CallTracker
from crowdselect_core.stages.methods.annotated_rows import AnnotatedRows
from crowdselect_core.stages.methods.annotations import ANNOTATIONS
from crowdselect_core.stages.refs import Ref
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.executors.base import Needs

STAGE = ANNOTATIONS.name


def spreads(config: SelectConfig) -> bool:
    """Tell whether the model of the config's method reads rows on the workers of a cluster.

    So does a model that runs in a process of this library. An LLM that is asked is an endpoint or
    a server of its own, and its replies are judged together.
    """
    if config.executor.kind != "ray" or not annotates(config):
        return False
    return kind_of(config).local is not None


def needs(config: SelectConfig) -> Needs:
    """Return what one call takes."""
    local = kind_of(config).local
    device = local(config).device if local is not None else None
    return Needs(gpu=device is None or device.startswith("cuda"))


def annotate(
    config: SelectConfig,
    store: Store,
    rows: tuple[Ref, Ref, Ref],
    report: Callable[[CallTracker], None],
    check: Callable[[], None],
    model: Ref | None = None,
) -> CallTracker:
    """Annotate every row that the store has no annotation of; see `stages.methods.annotations`.

    Args:
        config: the data set and the method.
        store: where cells are.
        rows: scores, metrics and answers.
        report: called before the first annotation, and whenever a shard is finished.
        check: called once a second; what it raises ends the calls.
        model: what the method's model was trained to first.

    Raises:
        TooManyFailures: more calls failed than may.
        ConfigError, WorkerLost: see `Calls`.
    """
    work = AnnotatedRows(config, store, *rows, model)
    wanted, present = work.count()
    calls = CallTracker(config.method, wanted, present, config.max_failure_rate, report)
    if not wanted:
        return calls
    report(calls)
    job = ANNOTATIONS.job(config, *rows, {}, model)
    shards = cached_calls.Shards(
        STAGE, "annotations", needs(config),
        count=len(rows[0].open(store).manifest.shards),
        what={
            "job": [job.stage, job.config, job.inputs],
            "folder": ANNOTATIONS.spec(config, *rows, {}, model).folder,
        },
    )  # fmt: skip
    cached_calls.run(shards, config.executor, store, work.cells, calls, check)
    return calls
