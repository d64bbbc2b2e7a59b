"""The thinking of a reasoning model, told apart from its answer where a server has not done so."""

import re

OPENING, CLOSING = "<think>", "</think>"
# Where the chat template opens the block, the model's text has the closing tag alone. A tag in
# quotes or backticks is one that the answer is about.
_LONE = re.compile(r"(?<![`'\"])</think>(?![`'\"])")


def split_thinking(text: str) -> tuple[str, str | None]:
    """Split '<think>...</think>answer', or '...</think>answer', into answer and thinking.

    A block that is never closed leaves no answer. Without a block at the very start, and without a
    lone closing tag, the text is the answer and the thinking is None.
    """
    start = text.lstrip()
    if start.startswith(OPENING):
        thinking, _, answer = start.removeprefix(OPENING).partition(CLOSING)
        return answer.lstrip(), thinking.strip()
    closing = _LONE.search(text) if CLOSING in text else None
    if closing is None or OPENING in text[: closing.start()]:
        return text, None
    return text[closing.end() :].lstrip(), text[: closing.start()].strip()
