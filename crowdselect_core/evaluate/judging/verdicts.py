"""Reading the verdict in a judge's words, strictly: what is not clear is no verdict.

A reply that was cut at its token limit has none, whatever stands in it: a rating before the end
may be one that the judge quotes.
"""

import re
from collections.abc import Sequence

from crowdselect_core.evaluate.arena_rows import LABELS, MIRRORED, Version

LEAST, GREATEST = 1.0, 10.0  # of MT-Bench's ratings
RATING = re.compile(r"\[\[\s*(-?[0-9]{1,6}(?:\.[0-9]{1,6})?)\s*\]\]")
# FastChat's second pattern, here only at the reply's end and behind the word: `Rating: [7]`.
SINGLE_BRACKET = re.compile(
    r"\brating\b[\s:*_]{0,9}\[\s*(-?[0-9]{1,6}(?:\.[0-9]{1,6})?)\s*\][\s.*_]*\Z", re.IGNORECASE
)
WINNER = re.compile(r"\[\[\s*([ABC])\s*\]\]")
LABEL_PATTERNS = (r"\[\[([AB<>=]+)\]\]", r"\[([AB<>=]+)\]")
CUT = "length"


def read_rating(
    words: str | None, finish_reason: str | None = None, *, single_bracket: bool = False
) -> float | None:
    """Return the rating in a judge's words, `[[7]]`.

    Several ratings count only if all are the same, and none counts outside 1 to 10.

    Args:
        words: the reply.
        finish_reason: why it ended.
        single_bracket: where there is none such, `Rating: [7]` counts at the reply's end, as
            replies to FastChat's prompts have it; `[1]` elsewhere may be a citation.
    """
    if words is None or finish_reason == CUT:
        return None
    found = set(RATING.findall(words))
    if not found and single_bracket:
        found = set(SINGLE_BRACKET.findall(words))
    values = {float(text) for text in found}
    if len(values) != 1:
        return None
    value = values.pop()
    return value if LEAST <= value <= GREATEST else None


def read_winner(words: str | None, finish_reason: str | None = None) -> str | None:
    """Return A, B or C (tie); `[[A]]` and `[[B]]` in one reply are no verdict."""
    if words is None or finish_reason == CUT:
        return None
    found = set(WINNER.findall(words))
    return found.pop() if len(found) == 1 else None


def read_label(
    words: str | None,
    finish_reason: str | None,
    patterns: Sequence[re.Pattern[str]],
    version: Version,
) -> str | None:
    """Return the label of an Arena-Hard game, such as A>>B.

    v0.1: all matches must be the same label. v2: the last match of the first pattern that has
    one, in the text in capitals; the mirrored labels (B<A) count as well.
    """
    if words is None or finish_reason == CUT:
        return None
    if version == "v0.1":
        found = {match.strip() for match in patterns[0].findall(words)}
        label = found.pop() if len(found) == 1 else None
        return label if label in LABELS else None
    capitals = words.upper()
    for pattern in patterns:
        if matches := pattern.findall(capitals):
            label = matches[-1].strip()
            return label if label in LABELS or label in MIRRORED else None
    return None
