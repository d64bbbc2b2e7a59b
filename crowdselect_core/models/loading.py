"""Loading of tokenizers, and what is said where one cannot be loaded."""

from typing import Any

from crowdselect_core.errors import ConfigError, first_line
from crowdselect_core.models.hub import hub_commit, local_folder


def load_tokenizer(model: str, revision: str | None = None, trust_remote_code: bool = False) -> Any:
    """Load the tokenizer of a folder or hub id; no weights are read.

    Raises:
        ConfigError: no such folder or hub id, it has no tokenizer, or the tokenizer needs code of
            the model's repository.
    """
    folder = local_folder(model)
    try:
        from transformers import AutoTokenizer
    except ImportError:
        raise ConfigError(
            f"model {model!r} needs transformers: pip install 'crowdselect[models]'"
        ) from None
    commit = None if folder else hub_commit(model, revision)
    try:
        return AutoTokenizer.from_pretrained(
            str(folder or model),
            revision=commit,
            local_files_only=folder is not None,
            trust_remote_code=trust_remote_code,
        )
    except Exception as e:
        raise unloadable(f"tokenizer of model {model!r}", e, trust_remote_code, TOKENIZER) from None


TOKENIZER = "a folder or hub id with tokenizer files (tokenizer.json, tokenizer_config.json)"


def unloadable(what: str, error: Exception, trusted: bool, expected: str) -> ConfigError:
    """Return the error for something that transformers could not load, and why."""
    if "trust_remote_code" in str(error) and not trusted:
        return ConfigError(
            f"{what} runs code of its own repository: read that code, then set "
            "trust_remote_code: true, or name a model that needs none"
        )
    cause = first_line(error).rstrip(".: ")
    return ConfigError(f"{what} cannot be loaded: {cause}; expected {expected}")
