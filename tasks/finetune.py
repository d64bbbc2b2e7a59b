"""The tasks of a fine-tuning: train, write the model to OUT, show it."""

import logging
import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import httpx
from prefect import task
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.client.schemas.objects import State
from prefect.exceptions import PrefectException
from prefect.states import Completed

from crowdselect_core.cluster import training as spread
from crowdselect_core.config.finetune import required
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.export import trained_model
from crowdselect_core.finetune import hub_upload
from crowdselect_core.finetune.base_model import base_model
from crowdselect_core.finetune.curve import Step
from crowdselect_core.finetune.data import rows_of
from crowdselect_core.finetune.licenses import answer_licenses, crowd_licenses
from crowdselect_core.report.text import LONG, markdown_text
from crowdselect_core.report.training import curve_rows, training_lines
from crowdselect_core.stages.refs import Ref
from crowdselect_core.store.artifacts import Store
from tasks import cancellation, near_misses
from tasks.devices import device_tags, some_devices
from tasks.stage_task import OPTIONS, ref_of, state_task

log = logging.getLogger("crowdselect")

SHOWN_SECONDS = 5.0  # between two updates of the progress in the UI


@state_task("finetune")
def train(config: SelectConfig, data: Ref | None) -> State[Ref]:
    """Train the base model on the selection or its pairs; goes on where it was.

    Without data it trains on training.train_file.
    """
    from crowdselect_core.finetune import own_trainer, training
    from crowdselect_core.finetune.recipe import has_gpu

    cancellation.check()
    started, store, recipe = time.monotonic(), Store(config.store), required(config.training)
    selected = None if data is None else data.open(store).frame()
    rows, base = rows_of(recipe, selected), base_model(recipe)
    licenses = {} if selected is None else answer_licenses(config.everyone, selected)
    prepared: training.Prepared | own_trainer.OwnTraining
    if recipe.command is None:
        prepared = training.prepare(recipe, base, rows, has_gpu(), licenses)
    else:
        prepared = own_trainer.prepare(recipe, base, rows, licenses)
    found = near_misses.find(store, prepared.spec, "finetune")
    if found is not None:
        ref = ref_of(found, started, cached=True)
        log.info("%-13s Cached, %s", "finetune", prepared.line)
        return Completed(
            name="Cached", message=f"in the store: {prepared.spec.folder}", data=_short(ref)
        )
    log.info("%-13s %s", "finetune", prepared.line)
    if spread.spreads(config):
        model = spread.train(
            config.executor, store, recipe, data, prepared.spec, has_gpu(), licenses,
            cancellation.check,
        )  # fmt: skip
    else:
        with some_devices(recipe.num_processes, recipe.base_model) as gpus:
            if isinstance(prepared, own_trainer.OwnTraining):
                model = own_trainer.train(prepared, store, gpus, cancellation.check)
            else:
                model = training.train(prepared, store, _Shown(), gpus, cancellation.check)
    return Completed(
        message=f"computed: {prepared.spec.folder}",
        data=_short(ref_of(model, started, cached=False)),
    )


def tags(config: SelectConfig) -> list[str]:
    """Return the tags of a training's task: on a Ray cluster it takes no device of this machine."""
    return ["engine-ray"] if spread.spreads(config) else device_tags()


@state_task("check-train-file")
def check_file(config: SelectConfig, heldout: Ref) -> State[None]:
    """Refuse training rows of a file that are held out, before they are trained on."""
    from crowdselect_core.evaluate.training_overlap import refuse_heldout

    rows = heldout.open(Store(config.store)).frame(["messages"])
    refuse_heldout(required(config.training), rows)
    return Completed(message="no row of the file is held out", data=None)


@state_task("merge-model")
def merge(config: SelectConfig, model: Ref) -> State[Ref]:
    """Merge the trained adapter into the base model's weights."""
    from crowdselect_core.finetune.merge import merge as merged
    from crowdselect_core.finetune.merge import spec
    from crowdselect_core.finetune.recipe import has_gpu

    cancellation.check()
    started, store, training = time.monotonic(), Store(config.store), required(config.training)
    gpu = has_gpu()
    if found := store.find(spec(training, model.key, gpu)):
        ref = ref_of(found, started, cached=True)
        log.info("%-13s Cached", "merge-model")
        return Completed(
            name="Cached", message=f"in the store: {ref.stage}/{ref.key}", data=_short(ref)
        )
    log.info("%-13s into the weights of %s", "merge-model", training.base_model)
    made = merged(training, base_model(training), model.open(store), store, gpu)
    ref = ref_of(made, started, cached=False)
    return Completed(message=f"computed: {ref.stage}/{ref.key}", data=_short(ref))


@state_task("push-model")
def push(config: SelectConfig, model: Ref) -> State[str]:
    """Upload the trained model to the hub; returns its address."""
    cancellation.check()
    repository = str(required(config.training).push_to)
    stored = model.open(Store(config.store))
    place = hub_upload.upload_model(repository, stored, crowd_licenses(config))
    log.info("%-13s %s", "push-model", place)
    return Completed(message=f"uploaded to {place}", data=place)


@state_task("export-model")
def export(config: SelectConfig, model: Ref) -> State[dict[str, Any]]:
    """Write OUT/model, OUT/training.parquet and OUT/training.json, unless they lie there."""
    cancellation.check()
    stored = model.open(Store(config.store))
    written = trained_model.write(config.out, stored, crowd_licenses(config))
    cached = written.pop("cached")
    told = {"lines": training_lines(written), "files": sorted([*written["files"], "training.json"])}
    if cached:
        return Completed(name="Cached", message=f"lies in {config.out}", data=told)
    log.info("%-13s written to %s", "export-model", config.out)
    return Completed(message=f"written to {config.out}", data=told)


@task(name="publish-training", **OPTIONS)
def publish(config: SelectConfig, lines: Sequence[str]) -> None:
    """Show the training and its loss curve as artifacts in the Prefect UI."""
    text = "\n".join(f"- {markdown_text(line, LONG)}" for line in lines)
    create_markdown_artifact(text, key="training-summary", description="What was trained")
    create_table_artifact(curve_rows(config.out), key="loss-curve", description="Loss by step")


def _short(ref: Ref) -> Ref:
    """Return a reference without the facts, which name every file."""
    return ref.model_copy(update={"facts": {}})


class _Shown:
    """Shows the steps in the UI; between two steps is also where a run can be stopped."""

    def __init__(self) -> None:
        self._artifact: UUID | None = None
        self._said = 0.0

    def __call__(self, step: Step) -> None:
        cancellation.check()
        now = time.monotonic()
        if now - self._said < SHOWN_SECONDS and step.step < step.total:
            return
        self._said = now
        percent = 100.0 * step.step / step.total
        try:
            if self._artifact is None:
                made = create_progress_artifact(
                    progress=percent, key="training-progress", description=step.line
                )
                self._artifact = made if isinstance(made, UUID) else None
            else:
                update_progress_artifact(self._artifact, progress=percent, description=step.line)
        except (httpx.HTTPError, PrefectException) as e:
            log.debug("the server took no progress (%s); the training goes on", e)
