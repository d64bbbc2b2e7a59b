"""The task of a method that needs a model to say something of every row."""

import logging
import time
from contextlib import AbstractContextManager, closing, nullcontext

from prefect.client.schemas.objects import State
from prefect.states import Completed

from crowdselect_core.annotate.factory import kind_of
from crowdselect_core.annotate.pre_experienced import with_weights
from crowdselect_core.cluster import annotating as spread
from crowdselect_core.cluster.serving import host_of
from crowdselect_core.config.engine import OpenAIEngineConfig
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import UserError
from crowdselect_core.generate.call_tracker import CallTracker
from crowdselect_core.reward.factory import Resources
from crowdselect_core.stages.base import How
from crowdselect_core.stages.methods.annotations import ANNOTATIONS, annotate, stored
from crowdselect_core.stages.refs import Ref
from crowdselect_core.store.artifacts import Store
from tasks import cancellation
from tasks.crowd import cached, tell
from tasks.devices import lent_to_engine
from tasks.progress import shown
from tasks.secrets import secret
from tasks.stage_task import ref_of, state_task

log = logging.getLogger("crowdselect")


@state_task("check-model")
def check_model(config: SelectConfig) -> State[None]:
    """Check within seconds that the method's endpoint can be reached.

    Annotations that the store has need no endpoint: where it has some, that is a warning.
    """
    if not isinstance(kind_of(config).engine(config), OpenAIEngineConfig):
        return Completed(message="no endpoint", data=None)
    with closing(kind_of(config).open(config, Resources(secret))) as annotator:
        try:
            annotator.check()
        except UserError as e:
            if not stored(config, Store(config.store)):
                raise
            log.warning("%s; rows that the store has no annotation of cannot be read", e)
    return Completed(message="checked", data=None)


@state_task("annotations")
def annotations(
    config: SelectConfig, scores: Ref, metrics: Ref, answers: Ref, model: Ref | None = None
) -> State[Ref]:
    """Have the method's model annotate the rows that the store has no annotation of.

    It may have been trained first.
    """
    cancellation.check()
    started, store, rows = time.monotonic(), Store(config.store), (scores, metrics, answers)
    wanted = ANNOTATIONS.spec(config, *rows, {}, model)
    found = store.find(wanted)
    if found is not None:
        log.info("%-13s Cached, %s rows", "annotations", f"{found.rows:,}")
        return cached(ref_of(found, started, cached=True), wanted)
    if spread.spreads(config):
        with shown("annotations", config.method) as report:
            calls = spread.annotate(config, store, rows, report, cancellation.check, model)
    else:
        calls = _here(config, store, rows, model)
    spec = ANNOTATIONS.spec(config, *rows, calls.failed, model)
    table = ANNOTATIONS.build(store, spec, How(), config, *rows, calls.failed, model)
    ref = ref_of(table, started, cached=False)
    tell(config.method, ref, calls)
    return Completed(message=f"computed: {spec.folder}", data=ref)


def _here(
    config: SelectConfig, store: Store, rows: tuple[Ref, Ref, Ref], model: Ref | None
) -> CallTracker:
    """Annotate the rows in this process, or by the LLM that it asks."""
    with shown("annotations", config.method) as report, _lent(config) as gpus:
        cancellation.check()  # it may have waited long for its device
        host = host_of(config.executor, kind_of(config).engine(config))
        resources = Resources(secret, gpus, cancellation.asked, host)
        with (
            with_weights(config, model.open(store) if model else None) as own,
            closing(kind_of(config).open(own, resources)) as annotator,
        ):
            annotator.check()
            return annotate(config, store, *rows, annotator, report, model)


def _lent(config: SelectConfig) -> AbstractContextManager[list[str]]:
    """Wait for the devices of this machine that the model takes; elsewhere it needs none here."""
    engine = kind_of(config).engine(config)
    if host_of(config.executor, engine) is not None:
        return nullcontext([])
    return lent_to_engine(engine, config.method)
