"""Where the weights of a model lie, and what an adapter says of the base that it was trained on."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from crowdselect_core.config.base import Frozen
from crowdselect_core.errors import ConfigError, first_line
from crowdselect_core.models.hub import hub_commit, local_folder, model_identity
from crowdselect_core.urls import expanded

ADAPTER = "adapter_config.json"
# A full model in the hub's cache has one of these.
FULL = ("config.json", "model.safetensors", "model.safetensors.index.json")


class Source(Frozen):
    """Weights that lie in a folder or on the hub."""

    model: str
    revision: str | None = None


class Base(NamedTuple):
    """The base model of adapters: its name, where it lies, and the identity of its weights."""

    name: str
    source: Source
    weights: str


def short_name(model: str) -> str:
    """Return the last part of a folder, a hub id or a sample's name."""
    return model.rstrip("/").rpartition("/")[2].rpartition(":")[2] or model


def source_of(model: str, revision: str | None = None) -> Source:
    """Return where a folder or hub id lies; `~` is the user's folder."""
    folder = local_folder(model)
    return Source(model=model if folder is None else str(folder), revision=revision)


def folder_of(where: str, source: Source) -> Path:
    """Return the folder of a model's files; those of a hub id are downloaded, or in the cache.

    Raises:
        ConfigError: the hub cannot give them.
    """
    if (folder := local_folder(source.model)) is not None:
        return folder
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(source.model, revision=source.revision))
    except Exception as e:  # offline, unreachable, private, unknown
        raise ConfigError(
            f"{where}: model {source.model!r} cannot be downloaded: {first_line(e)}"
        ) from None


def adapter_config(source: Source) -> Path | None:
    """Return the adapter_config.json of a LoRA adapter; None for a full model.

    Raises:
        ConfigError: the hub does not say whether it has one, or has one and does not give it.
    """
    if (folder := local_folder(source.model)) is not None:
        return folder / ADAPTER if (folder / ADAPTER).is_file() else None
    return _on_hub(source.model, hub_commit(source.model, source.revision))


def adapters_base(where: str, told: Path, training: Base | None, *, own: bool) -> Base:
    """Return the base model that an adapter is put on: the one that it was trained on.

    Args:
        where: begins every complaint.
        told: its adapter_config.json.
        training: the base model of the section training, under its name; None without one. It
            is taken where it is the same model: it may lie elsewhere by now.
        own: whether the adapter stands for the model of that training.

    Raises:
        ConfigError: the adapter names no base model, one that is not here, or (own) another one.
    """
    named = _named_base(where, told)
    if training is not None and _is_same(named, training):
        return training
    if training is not None and own:
        raise ConfigError(
            f"{where}: was trained on {named.model!r}{_at(named)}, and training.base_model is "
            f"{training.name!r}{_at(training.source)}: name the adapter's own base there, or "
            f"correct {ADAPTER} if both are one model"
        )
    try:
        weights = model_identity(named.model, named.revision)
    except ConfigError as e:
        raise ConfigError(
            f"{where}: its base model: {e}; or correct base_model_name_or_path in its {ADAPTER}"
        ) from None
    return Base(named.model, named, weights)


@lru_cache(maxsize=256)
def _on_hub(model: str, commit: str) -> Path | None:
    from huggingface_hub import HfApi, hf_hub_download, try_to_load_from_cache

    found = try_to_load_from_cache(model, ADAPTER, revision=commit)
    if isinstance(found, str):
        return Path(found)
    if found is not None:  # the hub has said that this commit has none
        return None
    try:
        files = HfApi().model_info(model, revision=commit, timeout=30).siblings or []
    except Exception as e:  # offline, unreachable, private
        if any(
            isinstance(try_to_load_from_cache(model, name, revision=commit), str) for name in FULL
        ):
            return None  # what is loaded comes from the cache, which has a full model
        raise ConfigError(
            f"model {model!r}: whether it is a LoRA adapter cannot be looked up: "
            f"{first_line(e).rstrip('.')}; run it again once the hub can be reached, log in with "
            "`hf auth login`, or give the folder of a downloaded copy"
        ) from None
    if not any(file.rfilename == ADAPTER for file in files):
        return None
    try:
        return Path(hf_hub_download(model, ADAPTER, revision=commit))
    except Exception as e:
        raise ConfigError(
            f"model {model!r}: its {ADAPTER} cannot be downloaded: {first_line(e)}"
        ) from None


def _named_base(where: str, told: Path) -> Source:
    """Return the base model that an adapter's config names, and its revision."""
    try:
        config: Any = json.loads(told.read_text("utf-8"))
        named, revision = config["base_model_name_or_path"], config.get("revision")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        named = revision = None
    if not isinstance(named, str) or not named:
        raise ConfigError(
            f"{where}: its {ADAPTER} names no base model; expected base_model_name_or_path"
        )
    folder = Path(expanded(named)).is_dir()
    pinned = revision if isinstance(revision, str) and revision and not folder else None
    return Source(model=named, revision=pinned)


def _is_same(named: Source, training: Base) -> bool:
    """Tell whether an adapter's base is that of the training.

    By the weights where both are folders, or both on the hub; a folder that is not here, or a
    copy of what the hub has, is known by the last part of its name alone.
    """
    if named.revision is None and named.model in (training.name, training.source.model):
        return True
    try:
        weights = model_identity(named.model, named.revision)
    except ConfigError:  # of another machine
        weights = ""
    if weights.partition(":")[0] != training.weights.partition(":")[0]:
        return short_name(named.model) == short_name(training.name)
    return weights == training.weights


def _at(source: Source) -> str:
    return f" (revision {source.revision})" if source.revision else ""
