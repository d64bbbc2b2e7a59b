"""Trainings on a Ray cluster: one is one call, and its worker stores the checkpoints and the model.

A call that is made again, on another worker, goes on from the last checkpoint in the store.
"""

from collections.abc import Callable, Mapping

from crowdselect_core.cluster import worker
from crowdselect_core.cluster.calls import Call, Calls, room
from crowdselect_core.config.executor import ExecutorConfig
from crowdselect_core.config.finetune import TrainingConfig
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.stages.refs import Ref
from crowdselect_core.store.artifacts import Artifact, Store
from crowdselect_core.store.executors.base import Needs
from crowdselect_core.store.identity import Spec

STAGE = "training"


def spreads(config: SelectConfig) -> bool:
    """Tell whether trainings run on the workers of a cluster."""
    return config.executor.kind == "ray"


def needs(training: TrainingConfig) -> Needs:
    """Return what a training takes: a GPU for each of its processes, else a CPU."""
    return Needs(cpus=training.num_processes, gpu=True, gpus=training.num_processes)


def at_once(config: ExecutorConfig, training: TrainingConfig) -> int:
    """Return how many such trainings the nodes of the cluster have room for now, at least one."""
    return max(room(STAGE, config, needs(training)), 1)


def train(
    executor: ExecutorConfig,
    store: Store,
    training: TrainingConfig,
    data: Ref | None,
    spec: Spec,
    gpu: bool,
    licenses: Mapping[str, str | None],
    check: Callable[[], None],
) -> Artifact:
    """Have a worker train and store a model; see `finetune.training.train`.

    Args:
        executor: the cluster.
        store: for the checkpoints and the model.
        training: the recipe.
        data: the selection, or its pairs; None: training.train_file is read on the worker's node.
        spec: of the model, as this process names it.
        gpu: whether this process would train on a GPU, which the key says.
        licenses: of the answers, for the model card.
        check: called once a second; what it raises ends the training.

    Raises:
        UserError: whatever a training raises of these.
        ConfigError, WorkerLost: see `Calls`.
    """
    from crowdselect_core.finetune.recipe import versions

    request = worker.request(
        "training",
        store.place.root,
        training=training.model_dump_json(),
        data=None if data is None else data.model_dump_json(exclude={"facts"}),
        key=spec.key,
        gpu=gpu,
        libraries=versions(),
        licenses=dict(licenses),
    )
    calls = Calls(STAGE, executor, needs(training), check)
    for call, outcome in calls.run([Call(0, f"training {spec.key[:12]}", request)]):
        outcome.value(call.name)
    return store.open(spec.stage, spec.key)
