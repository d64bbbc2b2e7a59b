"""The first tokens of a text, without tokenising all of a very long one."""

from typing import Any

LETTERS = 64  # characters per token that are surely enough, of a text that is cut
SPARE = 64  # tokens beyond the last one, which the cut through a word could change


def encoded(tokenizer: Any, text: str, most: int | None) -> list[int]:
    """Return the token ids of a text with the special tokens that the tokenizer adds.

    Args:
        tokenizer: of transformers.
        text: any text, however long.
        most: how many tokens at most, as `truncation` cuts them; None: all.
    """
    if most is None:
        return list(tokenizer.encode(text, verbose=False))
    shortened = text[: LETTERS * (most + SPARE)]
    ids: list[int] = tokenizer.encode(shortened, truncation=True, max_length=most, verbose=False)
    if len(shortened) < len(text) and len(ids) < most:  # tokens of more letters than that
        ids = tokenizer.encode(text, truncation=True, max_length=most, verbose=False)
    return list(ids)
