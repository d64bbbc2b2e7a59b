"""What a Ray worker does: it reads a request, computes, writes into the store, and answers.

Requests and answers are JSON. A request holds no credential: the store's come from the environment
of the worker's node.
"""

import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from crowdselect_core.annotate.base import Annotator
from crowdselect_core.annotate.factory import kind_of
from crowdselect_core.annotate.pre_experienced import with_weights
from crowdselect_core.cluster import trained_cells
from crowdselect_core.cluster.outcome import answered
from crowdselect_core.cluster.refusals import (
    OTHER,
    UNSEEN,
    check_seen,
    check_versions,
    no_secret,
)
from crowdselect_core.config.crowd import CrowdModel
from crowdselect_core.config.reward import RewardConfig
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import ConfigError, StorageError
from crowdselect_core.generate.base import never
from crowdselect_core.generate.call_tracker import CallTracker
from crowdselect_core.reward.base import Scorer
from crowdselect_core.reward.factory import Resources, scorer_of
from crowdselect_core.reward.identity import cache_spec
from crowdselect_core.stages.crowd.answer_texts import Answered
from crowdselect_core.stages.crowd.rewards import score_shard
from crowdselect_core.stages.graph import ANNOTATIONS, PLANS, STAGES, finish
from crowdselect_core.stages.methods.annotated_rows import AnnotatedRows
from crowdselect_core.stages.methods.annotations import annotate_shard
from crowdselect_core.stages.refs import Ref
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.backend.open import open_backend
from crowdselect_core.store.executors.base import Job
from crowdselect_core.store.names import BUILDING
from crowdselect_core.util.versions import version_of

SEEN = 30.0  # seconds in which a listing shows what was written before, also on a slow share
LIBRARIES = (
    *("crowdselect", "polars", "pyarrow", "numpy", "scikit-learn"),
    *("torch", "transformers", "sentence-transformers"),
)


def request(work: str, root: str, **what: Any) -> str:
    """Return a request.

    Args:
        work: `part` (see `graph.finish`), `scores` (`rewards.score_shard`), `annotations`
            (`annotations.annotate_shard`), `training`, `heldout-loss` or `benchmark-answers`
            (`trained_cells`).
        root: of the store.
        what: the other arguments, as JSON values.
    """
    place = {"cwd": str(Path.cwd()), "versions": versions()}
    return json.dumps({"work": work, "root": root, **place, **what})


@cache
def versions() -> dict[str, str]:
    """Return the versions that a shard's bytes follow from."""
    return {"python": platform.python_version()} | {name: version_of(name) for name in LIBRARIES}


def answer(asked: str) -> str:
    """Do what a request asks for, in a worker; see `outcome.answered`."""
    import ray

    address: Callable[[], str] = ray.util.get_node_ip_address  # Ray leaves it without types
    return answered(address(), lambda: _do(json.loads(asked)))


def _do(asked: Mapping[str, Any]) -> Any:
    check_versions(asked["versions"], versions())
    if Path(asked["cwd"]).is_dir():  # relative paths mean what they mean to the driver
        os.chdir(asked["cwd"])
    return _WORK[asked["work"]](asked)


def _part(asked: Mapping[str, Any]) -> list[Any]:
    job, root, folder = Job(*asked["job"]), asked["root"], asked["folder"]
    _check_artifact(job, root, folder)
    shard, told = finish(job, root, folder, asked["index"], asked["finished"])
    return [shard.name, shard.rows, shard.bytes, shard.sha256, dict(told)]


def _scores(asked: Mapping[str, Any]) -> dict[str, Any]:
    store, scorer = Store(asked["root"]), _scorer(asked["reward"], asked["cells"])
    responses = Ref.model_validate_json(asked["responses"])
    check_seen(store, responses)
    calls = score_shard(
        SelectConfig.model_validate_json(asked["config"]),
        store,
        _REWARD.validate_json(asked["reward"]),
        Answered(CrowdModel.model_validate_json(asked["model"]), responses),
        scorer,
        asked["index"],
    )
    return {"heads": list(scorer.heads), **_counts(calls)}


def _annotations(asked: Mapping[str, Any]) -> dict[str, Any]:
    config, work, annotator = _annotating(Job(*asked["job"]), asked["root"], asked["folder"])
    return _counts(annotate_shard(config, work, annotator, asked["index"]))


def _answers(asked: Mapping[str, Any]) -> dict[str, Any]:
    return _counts(trained_cells.answer(asked))


def _counts(calls: CallTracker) -> dict[str, Any]:
    """Return what `CallTracker.add` takes, as JSON values."""
    return {
        "answered": calls.answered,
        "codes": dict(calls.codes),
        "failed": {key.hex(): error for key, error in calls.failed.items()},
    }


_WORK: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "part": _part,
    "scores": _scores,
    "annotations": _annotations,
    "training": trained_cells.train,
    "heldout-loss": trained_cells.losses,
    "benchmark-answers": _answers,
}
_REWARD: TypeAdapter[RewardConfig] = TypeAdapter(RewardConfig)


@lru_cache(maxsize=1)
def _scorer(reward: str, cells: str) -> Scorer:
    """Return a reward model that has passed its checks on this node; the last one is kept."""
    from crowdselect_core.reward.conformance_gate import conform

    config = _REWARD.validate_json(reward)
    if cache_spec(config).key != cells:
        raise ConfigError(OTHER.format(what=f"reward model {config.name} is"))
    scorer = scorer_of(config, Resources(no_secret, stopped=never))
    conform(config, scorer)
    return scorer


@lru_cache(maxsize=1)
def _annotating(job: Job, root: str, folder: str) -> tuple[SelectConfig, AnnotatedRows, Annotator]:
    """Return the rows of a method and its model on this node; the last ones are kept."""
    store, (config, inputs) = Store(root), ANNOTATIONS.read(job)
    scores, metrics, answers, _, model = inputs
    check_seen(store, scores)
    _check_same(job, folder)
    annotator = _annotator(config, store, model)
    return config, AnnotatedRows(config, store, scores, metrics, answers, model), annotator


def _annotator(config: SelectConfig, store: Store, model: Ref | None) -> Annotator:
    """Return what annotates; the weights of a model that was trained first are read now."""
    from crowdselect_core.annotate.local_model import LocalAnnotator

    with with_weights(config, model.open(store) if model else None) as own:
        annotator = kind_of(config).open(own, Resources(no_secret, stopped=never))
        annotator.check()
        if model is not None and isinstance(annotator, LocalAnnotator):
            annotator.load()
    return annotator


@lru_cache(maxsize=PLANS)
def _check_artifact(job: Job, root: str, folder: str) -> None:
    """See that this node has the run's store, data set and models.

    Raises:
        StorageError: it does not see the store that the run writes to.
        ConfigError: it would compute another artifact.
    """
    place, end = open_backend(root), time.monotonic() + SEEN
    while not any(f"/{BUILDING}" in file.name for file in place.walk(folder)):
        if time.monotonic() > end:
            raise StorageError(UNSEEN.format(root=root))
        time.sleep(1.0)
    _check_same(job, folder)


def _check_same(job: Job, folder: str) -> None:
    """Refuse a job that is another artifact as this node reads its data set and models."""
    if STAGES[job.stage].named(job).folder != folder:
        raise ConfigError(OTHER.format(what=f"data set, model or code is, for {job.stage},"))
