"""What a worker does for a trained cell of an experiment: it trains, takes losses and answers."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from crowdselect_core.cluster.refusals import OTHER, check_seen, check_versions, no_secret
from crowdselect_core.config.benchmarks import HeldoutLossBenchmark
from crowdselect_core.config.engine import EngineConfig
from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.config.finetune import TrainingConfig
from crowdselect_core.errors import ConfigError
from crowdselect_core.evaluate import answers
from crowdselect_core.evaluate.benchmarks.heldout_loss import HeldoutLoss
from crowdselect_core.evaluate.candidates import Candidate, candidates
from crowdselect_core.evaluate.live import Question, Report, Tools
from crowdselect_core.generate.base import never
from crowdselect_core.generate.call_tracker import CallTracker
from crowdselect_core.models.devices import visible_gpus
from crowdselect_core.stages.refs import Ref
from crowdselect_core.store.artifacts import Store

if TYPE_CHECKING:
    from crowdselect_core.finetune.own_trainer import OwnTraining
    from crowdselect_core.finetune.training import Prepared

_BENCHMARK: TypeAdapter[HeldoutLossBenchmark] = TypeAdapter(HeldoutLossBenchmark)
_ENGINE: TypeAdapter[EngineConfig] = TypeAdapter(EngineConfig)
_QUESTIONS: TypeAdapter[list[Question]] = TypeAdapter(list[Question])


def train(asked: Mapping[str, Any]) -> None:
    """Train and store a model; goes on from the last checkpoint in the store.

    Raises:
        ConfigError: this node would train another model than the one that is asked for.
    """
    from crowdselect_core.finetune import own_trainer, training
    from crowdselect_core.finetune.recipe import versions

    check_versions(asked["libraries"], versions())
    store = Store(asked["root"])
    prepared = _prepared(asked, store)
    if prepared.spec.key != asked["key"]:
        raise ConfigError(OTHER.format(what="base model or training rows are"))
    if store.find(prepared.spec) is not None:
        return  # a worker that was lost had stored it
    gpus = visible_gpus()
    if isinstance(prepared, own_trainer.OwnTraining):
        own_trainer.train(prepared, store, gpus)
    else:
        training.train(prepared, store, gpus=gpus)


def _prepared(asked: Mapping[str, Any], store: Store) -> "Prepared | OwnTraining":
    """Read the rows of a training, and name it as this node sees them."""
    from crowdselect_core.finetune import own_trainer, training
    from crowdselect_core.finetune.base_model import base_model
    from crowdselect_core.finetune.data import rows_of
    from crowdselect_core.finetune.recipe import has_gpu

    recipe, selected = TrainingConfig.model_validate_json(asked["training"]), None
    if asked["data"] is not None:
        data = Ref.model_validate_json(asked["data"])
        check_seen(store, data)
        selected = data.open(store).frame()
    rows, base = rows_of(recipe, selected), base_model(recipe)
    if recipe.command is not None:
        return own_trainer.prepare(recipe, base, rows, asked["licenses"])
    if has_gpu() != asked["gpu"]:  # the key of a command's model does not say it
        raise ConfigError(_other_device(asked["gpu"]))
    return training.prepare(recipe, base, rows, asked["gpu"], asked["licenses"])


def _other_device(gpu: bool) -> str:
    there, here = ("a GPU", "none") if gpu else ("no GPU", "one")
    return (
        f"the run's process sees {there} and this training {here}, and the key of a model says "
        "what it was trained on: start the run on a node that has what the others have, or set "
        "executor.resources.training"
    )


def losses(asked: Mapping[str, Any]) -> None:
    """Store the losses of one model on the held-out rows, those that the store lacks.

    Raises:
        ConfigError: the model is another one on this node.
    """
    model, tools = _evaluating(asked)
    own = replace(tools, artifacts=asked["artifacts"])
    HeldoutLoss(_BENCHMARK.validate_json(asked["benchmark"])).run([model], own)


def answer(asked: Mapping[str, Any]) -> CallTracker:
    """Have one model answer questions, and store those answers that the store lacks.

    Raises:
        ConfigError: the model is another one on this node.
    """
    model, tools = _evaluating(asked)
    # which engine is the default depends on what is installed, and the run has decided
    engine = _ENGINE.validate_json(asked["engine"])
    questions = _QUESTIONS.validate_python(asked["questions"])
    return answers.answer(questions, model.model_copy(update={"engine": engine}), tools)


def _evaluating(asked: Mapping[str, Any]) -> tuple[Candidate, Tools]:
    """Return a model, seen to be the run's on this node, and what its work needs."""
    config = EvaluateConfig.model_validate_json(asked["config"])
    model = Candidate.model_validate_json(asked["model"])
    store = Store(asked["root"])
    if model not in candidates(config, store, asked["trained"]):
        raise ConfigError(OTHER.format(what=f"model {model.name} is"))
    return model, Tools(
        config=config,
        store=store,
        secret=no_secret,
        lent=lambda engine, name: nullcontext(visible_gpus()),
        shown=_unshown,
        stopped=never,
        check=lambda: None,
    )


@contextmanager
def _unshown(step: str, name: str) -> Iterator[Report]:
    yield lambda calls: None
