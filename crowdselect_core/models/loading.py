"""Where transformers loads a model from, its tokenizer, and what is said where it cannot."""

from typing import Any

from crowdselect_core.errors import ConfigError, first_line
from crowdselect_core.models.hub import hub_commit, local_folder
from crowdselect_core.util.extras import install

TOKENIZER = "a folder or hub id with tokenizer files (tokenizer.json, tokenizer_config.json)"


def origin(
    model: str, revision: str | None = None, trust_remote_code: bool = False
) -> tuple[str, dict[str, Any]]:
    """Return the name and the options by which `from_pretrained` loads a model.

    A hub id is pinned to the commit that it resolves to; of a folder the hub is not asked.

    Raises:
        ConfigError: no such folder, or a hub id that neither the hub nor its cache can resolve.
    """
    folder = local_folder(model)
    return str(folder or model), {
        "revision": None if folder else hub_commit(model, revision),
        "local_files_only": folder is not None,
        "trust_remote_code": trust_remote_code,
    }


def load_tokenizer(
    model: str,
    revision: str | None = None,
    trust_remote_code: bool = False,
    *,
    whose: str = "model",
) -> Any:
    """Load the tokenizer of a folder or hub id; no weights are read.

    Args:
        model: folder or hub id.
        revision: commit, tag or branch of a hub id.
        trust_remote_code: whether code of the model's repository may run.
        whose: what the model is, for messages.

    Raises:
        ConfigError: no such folder or hub id, it has no tokenizer, or the tokenizer needs code of
            the model's repository.
    """
    local_folder(model)  # what is wrong with a name needs no transformers to be told
    try:
        from transformers import AutoTokenizer
    except ImportError:
        raise ConfigError(
            f"{whose} {model!r} needs transformers, which is not installed: {install('models')}"
        ) from None
    place, options = origin(model, revision, trust_remote_code)
    try:
        return AutoTokenizer.from_pretrained(place, **options)
    except Exception as e:  # whatever damaged files or a repository's code make it raise
        what = f"tokenizer of {whose} {model!r}"
        raise unloadable(what, e, trust_remote_code, TOKENIZER) from None


def unloadable(what: str, error: Exception, trusted: bool, expected: str) -> ConfigError:
    """Return the error for something that transformers could not load, and why."""
    if "trust_remote_code" in str(error) and not trusted:
        return ConfigError(
            f"{what} runs code of its own repository: read that code, then set "
            "trust_remote_code: true, or name a model that needs none"
        )
    cause = first_line(error).rstrip(".: ")
    return ConfigError(f"{what} cannot be loaded: {cause}; expected {expected}")
