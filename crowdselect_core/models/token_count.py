"""Counting tokens: with a tokenizer where one is named, estimated where none is."""

from collections.abc import Callable, Sequence

from crowdselect_core.models.hub import model_identity
from crowdselect_core.models.loading import load_tokenizer

BYTES_A_TOKEN = 4  # the usual rule of thumb for English text and a BPE of 32k to 128k entries

Counter = Callable[[Sequence[str]], list[int]]


def estimate(texts: Sequence[str]) -> list[int]:
    """Estimate tokens as UTF-8 bytes / 4, rounded up."""
    return [-(-len(t.encode("utf-8", "surrogatepass")) // BYTES_A_TOKEN) for t in texts]


def counter(tokenizer: str | None) -> Counter:
    """Return the count of a tokenizer (a folder or a hub id), or the estimate when it is None.

    Raises:
        ConfigError: the tokenizer cannot be loaded, or the extra `models` is not installed.
    """
    if tokenizer is None:
        return estimate
    loaded = load_tokenizer(tokenizer)

    def count(texts: Sequence[str]) -> list[int]:
        ids = loaded(list(texts), add_special_tokens=False)["input_ids"]
        return [len(one) for one in ids]

    return count


def counter_identity(tokenizer: str | None) -> str:
    """Name what counts, for a store key: the estimate, or the tokenizer's files or commit."""
    if tokenizer is None:
        return f"utf-8 bytes / {BYTES_A_TOKEN}"
    return model_identity(tokenizer)
