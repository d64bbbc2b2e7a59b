"""The models of an evaluation: the trained one, its base, and others; and where their weights are.

A model that was trained lives in the store: its files are unpacked into a work folder for as long
as it answers, and an adapter is merged into its base model there.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import Any, Literal

from pydantic import Field

from crowdselect_core.config.base import Frozen
from crowdselect_core.config.engine import EngineConfig
from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.config.evaluation import EvaluatedModel
from crowdselect_core.errors import ConfigError
from crowdselect_core.evaluate.sources import (
    ADAPTER,
    Base,
    Source,
    adapter_config,
    adapters_base,
    folder_of,
    short_name,
    source_of,
)
from crowdselect_core.models.hub import model_identity
from crowdselect_core.store.artifacts import Artifact, Store

Role = Literal["trained", "base", "other"]
MODEL = "model"  # stage of trained models, and the folder of their files
COMMIT = "commit:"  # before the identity of what lies on the hub
TRAINED = "-trained"  # behind the base model's name


class Candidate(Frozen):
    """A model that is evaluated.

    `weights` names what it is, wherever it lies: `sha256:...` of a folder's files, `commit:...` of
    a hub id, both joined for an adapter and its base; None for an endpoint.
    """

    name: str
    role: Role
    weights: str | None
    source: Source | None = None  # None: in the store, or behind an endpoint
    key: str | None = None  # of the artifact, where it lies in the store
    base: Source | None = None  # of an adapter
    revision: str | None = None  # of what an endpoint serves; else that of the source counts
    engine: EngineConfig | None = None  # None: evaluation.engine
    chat_template_kwargs: dict[str, Any] = Field({})
    system_prompt: str | None = None

    @property
    def is_adapter(self) -> bool:
        """Whether it is a LoRA adapter on a base model."""
        return self.base is not None

    @property
    def is_pending(self) -> bool:
        """Whether it is still to be trained, see `expected`: it has no answers."""
        return self.role == "trained" and self.weights is None


def candidates(config: EvaluateConfig, store: Store, trained: str | None) -> list[Candidate]:
    """Return the models of an evaluation, the trained one first and its base second.

    Args:
        config: resolved.
        store: where the trained model is.
        trained: the key of its artifact; None where none is trained.

    Raises:
        ConfigError: a model that is not there, or two of one name.
    """
    found: list[Candidate] = []
    base = base_candidate(config)
    if trained is not None:
        found.append(_trained(config, store.open(MODEL, trained)))
    elif config.model is not None:
        found.append(_given(config.model, config))
    if base is not None:
        found.append(base)
    if config.evaluation is not None:
        found += [_other(model, config) for model in config.evaluation.models]
    names = [c.name for c in found]
    if twice := sorted({n for n in names if names.count(n) > 1}):
        raise ConfigError(
            f"evaluation: two models have the name {twice[0]!r}; give one of evaluation.models "
            "another name, {name: ..., model: ...}"
        )
    return found


def base_candidate(config: EvaluateConfig) -> Candidate | None:
    """Return the base model of the training; None where the config has no training."""
    base = _training_base(config)
    if base is None:
        return None
    return Candidate(
        name=short_name(base.name), role="base", weights=base.weights, source=base.source
    )


def expected(config: EvaluateConfig, models: Sequence[Candidate]) -> list[Candidate]:
    """Return the models with the one that is still to be trained, whose weights nobody knows yet.

    Raises:
        ConfigError: another model has its name.
    """
    base = base_of(models)
    if not config.trains or base is None or any(m.role == "trained" for m in models):
        return list(models)
    name = f"{base.name}{TRAINED}"
    if any(m.name == name for m in models):
        raise ConfigError(
            f"evaluation: {name!r} is the name of the model that is trained; give the one of "
            "evaluation.models another name, {name: ..., model: ...}"
        )
    return [Candidate(name=name, role="trained", weights=None), *models]


def base_of(models: Sequence[Candidate]) -> Candidate | None:
    """Return the base model among the models of an evaluation."""
    return next((m for m in models if m.role == "base"), None)


@contextmanager
def opened(candidate: Candidate, store: Store, *, merged: bool = True) -> Iterator[Source]:
    """Lay a model's weights out as a folder or hub id while the block runs.

    Args:
        candidate: no endpoint.
        store: where a trained model is.
        merged: an adapter is merged into its base model; else the adapter's folder comes.

    Raises:
        ConfigError: the model lies behind an endpoint.
        DamagedArtifact: the stored model is damaged.
        StorageError: the disk has not enough room, also for what is merged.
    """
    if candidate.weights is None:
        raise ConfigError(f"model {candidate.name!r} is an endpoint, its weights are not here")
    if candidate.key is None and not candidate.is_adapter:
        if candidate.source is None:
            raise ConfigError(f"model {candidate.name!r} has no folder")
        yield candidate.source
        return
    from crowdselect_core.finetune.files import unpack
    from crowdselect_core.finetune.work_folder import work_folder

    artifact = None if candidate.key is None else store.open(MODEL, candidate.key)
    with work_folder(0 if artifact is None else 2 * _bytes(artifact)) as work:
        folder = work / MODEL
        if artifact is not None:
            unpack(artifact, work)
        elif candidate.source is not None:
            folder = folder_of(f"model {candidate.name!r}", candidate.source)
        if candidate.base is not None and merged:
            from crowdselect_core.evaluate.merged_adapter import merge

            base = candidate.base
            merge(candidate.name, folder, base.model, base.revision, work / "merged")
            folder = work / "merged"
        yield Source(model=str(folder))


def _trained(config: EvaluateConfig, artifact: Artifact) -> Candidate:
    base = base_candidate(config)
    if base is None:
        raise ConfigError("training is missing: a trained model has a base model")
    files = artifact.manifest.facts["files"]
    prefix = f"{MODEL}/"
    own = {n.removeprefix(prefix): f["sha256"] for n, f in files.items() if n.startswith(prefix)}
    weights = f"sha256:{_of_files(own)}"
    adapter = ADAPTER in own
    return Candidate(
        name=f"{base.name}{TRAINED}",
        role="trained",
        weights=f"{weights}+{base.weights}" if adapter else weights,
        key=artifact.key,
        base=base.source if adapter else None,
    )


def _given(model: str, config: EvaluateConfig) -> Candidate:
    """Return the model of --model; an adapter is put on the training's base, or what it names."""
    try:
        source, weights, base = _weights(f"--model {model!r}", model, None, config, own=True)
    except ConfigError as e:
        raise ConfigError(_once("--model", e)) from None
    return Candidate(
        name=short_name(model), role="trained", weights=weights, source=source, base=base
    )


def _other(model: EvaluatedModel, config: EvaluateConfig) -> Candidate:
    """Return one of evaluation.models; without an engine of its own it runs here."""
    engine = model.engine
    given = (engine.model if engine is not None else None) or model.model
    named = given or model.name
    found = Candidate(
        name=model.name if given else short_name(model.name),
        role="other",
        weights=None,
        engine=engine,
        chat_template_kwargs=model.chat_template_kwargs,
        system_prompt=model.system_prompt,
    )
    if engine is not None and engine.kind == "openai":
        told = engine.model_copy(update={"model": named})
        return found.model_copy(update={"engine": told, "revision": model.revision})
    where = f"evaluation.models, {model.name!r}"
    try:
        source, weights, base = _weights(where, named, model.revision, config, own=False)
    except ConfigError as e:
        raise ConfigError(_once("evaluation.models", e)) from None
    return found.model_copy(update={"source": source, "weights": weights, "base": base})


def _weights(
    where: str, model: str, revision: str | None, config: EvaluateConfig, *, own: bool
) -> tuple[Source, str, Source | None]:
    """Return where a model lies, what its weights are, and the base where it is an adapter."""
    source, weights = source_of(model, revision), model_identity(model, revision)
    told = adapter_config(source)
    if told is None:
        return source, weights, None
    if weights.startswith(COMMIT):
        source = source.model_copy(update={"revision": weights.removeprefix(COMMIT)})
    base = adapters_base(where, told, _training_base(config), own=own)
    return source, f"{weights}+{base.weights}", base.source


def _training_base(config: EvaluateConfig) -> Base | None:
    if config.training is None:
        return None
    from crowdselect_core.finetune.base_model import base_model

    base = base_model(config.training)
    return Base(base.name, Source(model=base.source, revision=base.revision), base.identity)


def _once(where: str, error: ConfigError) -> str:
    """Return a complaint that begins with where it is about."""
    return str(error) if str(error).startswith(where) else f"{where}: {error}"


def _of_files(sha256_of: dict[str, str]) -> str:
    """Hash names and contents as `model_identity` hashes the same files in a folder."""
    whole = sha256()
    for name in sorted(sha256_of):
        whole.update(name.encode("utf-8") + b"\0" + bytes.fromhex(sha256_of[name]))
    return whole.hexdigest()


def _bytes(artifact: Artifact) -> int:
    return sum(int(f["bytes"]) for f in artifact.manifest.facts["files"].values())
