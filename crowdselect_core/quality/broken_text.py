"""Broken and unfinished texts: lost characters, code blocks that stay open, ends in mid-sentence.

An answer whose finish reason says that it was cut off is never kept, whatever gates there are;
these rules find what no finish reason tells.
"""

import re

LOST = "\ufffd"  # what a decoder writes for bytes that it cannot read
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})([^\n]*)$", re.MULTILINE)
_OPEN_ENDS = (",", ":", "-", "\u2013", "\u2014", "(", "[", "{", "\u3001", "\uff0c", "\uff1a")


def broken_characters(text: str) -> str | None:
    """Return what of a text is broken: U+FFFD, or a control character; None where nothing is.

    Tab, line feed and carriage return are no control characters here.
    """
    if LOST in text:
        return "U+FFFD"
    found = _CONTROL.search(text)
    return f"control character U+{ord(found.group(0)):04X}" if found else None


def has_open_fence(text: str) -> bool:
    """Tell whether a code block of a Markdown text is never closed.

    CommonMark 0.31, section 4.5: a block ends at a line of at least as many of the same characters
    as it began with, and nothing behind them. A block without an end reaches to the end of the
    text.
    """
    opened: str | None = None
    for match in _FENCE.finditer(text):
        fence, rest = match.group(1), match.group(2)
        if opened is None:
            if fence[0] == "~" or "`" not in rest:  # else it is code within a line
                opened = fence
        elif fence.startswith(opened) and not rest.strip():
            opened = None
    return opened is not None


def open_end(answer: str) -> str | None:
    """Return the last character of an answer that cannot end there; None where it may.

    These are comma, colon, hyphen, dash and opening brackets. White space and Markdown's marks of
    emphasis behind them do not count.
    """
    end = answer.rstrip().rstrip("*_").rstrip()
    if not end or end.endswith(("---", ":-", ":(", ":-(", ";(", ";-(")):  # a rule, an emoticon
        return None
    return end[-1] if end.endswith(_OPEN_ENDS) else None
