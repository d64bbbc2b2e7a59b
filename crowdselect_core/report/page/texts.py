"""Texts from data, made fit to be shown in the page; they are hostile."""

import re
from typing import NamedTuple

# Control characters but tab and newline, direction marks and overrides, separators of lines and
# paragraphs, surrogates, what is no character: shown as escapes. Joiners stay: scripts need them.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufdd0-\ufdef\ufeff"
    "\ufff9-\uffff\ud800-\udfff\U000e0000-\U000e007f]"
)


class Clipped(NamedTuple):
    """The beginning of a text, and how many characters the whole has."""

    text: str | None
    length: int


def visible(text: str) -> str:
    """Return a text with what cannot be seen, or moves its neighbours, written as escapes."""
    text = text.replace("\r\n", "\n")
    return _INVISIBLE.sub(lambda m: m[0].encode("unicode_escape").decode(), text)


def clipped(text: str | None, characters: int) -> Clipped:
    """Return the beginning of a text, visible."""
    if text is None:
        return Clipped(None, 0)
    return Clipped(visible(text[:characters]), len(text))


def in_one_line(text: str | None, characters: int) -> str:
    """Return the beginning of a text on one line, visible."""
    if text is None:
        return ""
    flat = " ".join(text[: characters * 4].split())
    return visible(flat if len(flat) <= characters else f"{flat[: characters - 1]}…")
