"""What a stage is: one object with its name, its inputs, its identity and how it is computed.

The order of the stages stands in the flows. What runs them there is a runner: Prefect's tasks, a
dry run that looks in the store, or a build in the process.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from inspect import Signature, signature
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, get_type_hints

from pydantic import BaseModel, ConfigDict, create_model

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.stages.refs import Ref
from crowdselect_core.store.artifacts import Artifact, Store
from crowdselect_core.store.build import Progress, build
from crowdselect_core.store.executors.base import Executor, Job, Needs
from crowdselect_core.store.executors.threads import Threads
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import Plan

P = ParamSpec("P")

_JSON = ConfigDict(extra="forbid", ser_json_bytes="hex", val_json_bytes="hex")


@dataclass(frozen=True)
class Stage(Generic[P]):
    """A stage: what its artifact is, and how it is computed from its inputs.

    Args:
        name: of the stage; its task and the dry run show it.
        description: what it does, in one sentence; its task shows it.
        spec: names the artifact by everything that changes its content.
        plan: says how it is computed, shard by shard; it takes the inputs that `spec` takes.
        needs: what a part takes of another machine; None where every part would compute, or read,
            what all of them need, so that the parts stay in one process.
        row_bytes: what a part holds in memory of every row of its inputs, not of its own alone.
    """

    name: str
    description: str
    spec: Callable[Concatenate[SelectConfig, P], Spec]
    plan: Callable[Concatenate[SelectConfig, Store, P], Plan]
    needs: Callable[[SelectConfig], Needs] | None = None
    row_bytes: int = 0

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the inputs, in order."""
        return tuple(self.signature.parameters)[1:]

    @property
    def signature(self) -> Signature:
        """The signature of `spec`: the config, then the inputs."""
        return signature(self.spec)

    def build(
        self,
        store: Store,
        spec: Spec,
        how: "How",
        config: SelectConfig,
        *inputs: P.args,
        **named: P.kwargs,
    ) -> Artifact:
        """Build the artifact that `spec` names, which is what `self.spec` gave for the inputs."""
        return build(
            store,
            spec,
            self.plan(config, store, *inputs, **named),
            executor=how.executor or Threads(config.workers),
            job=self.job(config, *inputs, **named),
            progress=how.progress,
        )

    def job(self, config: SelectConfig, *inputs: P.args, **named: P.kwargs) -> Job:
        """Return what any process can compute the parts of the artifact from."""
        bound = self.signature.bind(config, *inputs, **named)
        bound.apply_defaults()
        values = self._inputs(**{name: bound.arguments[name] for name in self.inputs})
        told = config.model_dump_json(include=set(SelectConfig.model_fields))
        return Job(self.name, told, values.model_dump_json())

    def planned(self, job: Job, store: Store) -> Plan:
        """Return the plan of a job that `job` made, in whatever process."""
        plan: Callable[..., Plan] = self.plan
        config, values = self.read(job)
        return plan(config, store, *values)

    def named(self, job: Job) -> Spec:
        """Return the name of a job's artifact, as this process reads the job's inputs."""
        spec: Callable[..., Spec] = self.spec
        config, values = self.read(job)
        return spec(config, *values)

    def read(self, job: Job) -> tuple[SelectConfig, list[Any]]:
        """Return the config and the inputs of a job that `job` made, in whatever process."""
        config = SelectConfig.model_validate_json(job.config)
        values = self._inputs.model_validate_json(job.inputs)
        return config, [getattr(values, name) for name in self.inputs]

    @cached_property
    def _inputs(self) -> type[BaseModel]:
        """The inputs as a model, by their annotations, for their way through JSON."""
        hints = get_type_hints(self.spec)
        defaults = {n: p.default for n, p in self.signature.parameters.items()}
        types: dict[str, Any] = {
            name: (hints[name], ... if defaults[name] is Signature.empty else defaults[name])
            for name in self.inputs
        }
        return create_model(f"inputs of {self.name}", __config__=_JSON, **types)


def one_cpu(_: SelectConfig) -> Needs:
    """Return the needs of a stage whose parts compute on one processor."""
    return Needs()


@dataclass(frozen=True)
class How:
    """How an artifact is built; nothing of it changes the result.

    Args:
        executor: runs the parts; without one, `workers` threads of this process.
        progress: called after every shard.
    """

    executor: Executor | None = None
    progress: Progress | None = None


class Runner(Protocol):
    """Runs a stage, or says what it would come to."""

    def __call__(
        self, stage: Stage[P], config: SelectConfig, /, *inputs: P.args, **named: P.kwargs
    ) -> Ref:
        """Return the stage's artifact for a config and inputs."""
        ...


@dataclass(frozen=True)
class InProcess:
    """Runs stages in this process: the artifact is taken from the store, or built."""

    store: Store
    how: How = How()

    def __call__(
        self, stage: Stage[P], config: SelectConfig, /, *inputs: P.args, **named: P.kwargs
    ) -> Ref:
        """Return the stage's artifact."""
        spec = stage.spec(config, *inputs, **named)
        found = self.store.find(spec)
        if found is not None:
            return Ref.of(found)
        built = stage.build(self.store, spec, self.how, config, *inputs, **named)
        return Ref.of(built, cached=False)


def refs_in(value: Any) -> Iterator[Ref]:
    """Yield the references that an input consists of, or holds."""
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for one in value:
            yield from refs_in(one)
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from refs_in(getattr(value, field.name))
