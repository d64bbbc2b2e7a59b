"""Counting tokens: with a tokenizer where one is named, estimated where none is."""

import re
from collections.abc import Callable, Sequence

from crowdselect_core.errors import ConfigError
from crowdselect_core.models.hub import model_identity
from crowdselect_core.models.loading import load_tokenizer

BYTES_A_TOKEN = 4  # the usual rule of thumb for English text and a BPE of 32k to 128k entries

Counter = Callable[[Sequence[str]], list[int]]


def estimate(texts: Sequence[str]) -> list[int]:
    """Estimate tokens as UTF-8 bytes / 4, rounded up."""
    return [-(-len(t.encode("utf-8", "surrogatepass")) // BYTES_A_TOKEN) for t in texts]


def counter(tokenizer: str | None, key: str | None = None) -> Counter:
    """Return the count of a tokenizer (a folder or a hub id), or the estimate when it is None.

    Args:
        tokenizer: its name.
        key: the config key that names it, for messages; without it, it is that of a model.

    Raises:
        ConfigError: the tokenizer cannot be loaded, or the extra `models` is not installed.
    """
    if tokenizer is None:
        return estimate
    try:
        loaded = load_tokenizer(tokenizer)
    except ConfigError as e:
        raise _of(key, e) from None

    def count(texts: Sequence[str]) -> list[int]:
        ids = loaded(list(texts), add_special_tokens=False)["input_ids"]
        return [len(one) for one in ids]

    return count


def counter_identity(tokenizer: str | None, key: str | None = None) -> str:
    """Name what counts, for a store key: the estimate, or the tokenizer's files or commit.

    Arguments and exceptions as of `counter`.
    """
    if tokenizer is None:
        return f"utf-8 bytes / {BYTES_A_TOKEN}"
    try:
        return model_identity(tokenizer)
    except ConfigError as e:
        raise _of(key, e) from None


def _of(key: str | None, error: ConfigError) -> ConfigError:
    """Return an error about a model's name as one about the tokenizer that a key names."""
    if key is None:
        return error
    words = str(error).removeprefix("tokenizer of ")
    return ConfigError(f"{key}: " + re.sub("^model", "tokenizer", words))
