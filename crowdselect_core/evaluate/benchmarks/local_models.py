"""Which models a benchmark that needs their weights can measure."""

from collections.abc import Sequence
from pathlib import Path

from crowdselect_core.errors import ConfigError, first_line
from crowdselect_core.evaluate.candidates import Candidate, Source


def local_models(where: str, models: Sequence[Candidate]) -> tuple[list[Candidate], list[str]]:
    """Return the models whose weights are here, and a note on the others.

    Raises:
        ConfigError: there are none.
    """
    local = [model for model in models if model.weights is not None]
    if not local:
        raise ConfigError(
            f"{where}: needs the weights of a model, and all models are endpoints: name a folder "
            "or hub id by --model, or in evaluation.models without an engine openai"
        )
    notes = [
        f"{where}: {model.name} is an endpoint, whose weights are not here; it is left out"
        for model in models
        if model.weights is None
    ]
    return local, notes


def folder_of(where: str, source: Source) -> Path:
    """Return the folder of a model's files; those of a hub id are downloaded, or in the cache.

    Raises:
        ConfigError: the hub cannot give them.
    """
    if Path(source.model).expanduser().is_dir():
        return Path(source.model).expanduser()
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(source.model, revision=source.revision))
    except Exception as e:  # offline, unreachable, private, unknown
        raise ConfigError(
            f"{where}: model {source.model!r} cannot be downloaded: {first_line(e)}"
        ) from None
