"""Refusals: answers that begin by declining, told by patterns at their start.

The patterns are matched without case in the first characters of the answer, typographic apostrophes
read as plain ones. They are stated in docs/quality.md. A refusal in another language, or one that
comes late, is not found.
"""

import re
from collections.abc import Iterable

_VERBS = (
    "answer|assist|comply|continue|create|discuss|do|engage|fulfil|fulfill|generate|give|help|offer"
    "|participate|produce|promote|provide|recommend|satisfy|share|support|write"
)
PATTERNS = (
    r"\b(?:i'?m|i am) (?:(?:very|so|really|deeply|truly) )?sorry,? but\b",
    r"\bi apologi[sz]e,? but\b",
    r"\bsorry,? (?:but )?i (?:can'?t|cannot|can not|won'?t|am unable|'?m unable)\b",
    r"\b(?:i'?m|i am) (?:unable|not able|not allowed|not permitted|not programmed) to\b",
    rf"\bi (?:can'?t|cannot|can not|won'?t|will not) (?:\w+ly )?(?:{_VERBS})\b",
    r"\bi (?:must|have to) (?:respectfully |politely )?(?:decline|refuse)\b",
    r"\bas an? (?:ai|artificial intelligence|(?:large )?language model)\b[^.!?\n]{0,60}"
    r"\bi (?:can'?t|cannot|can not|don'?t|do not|am not|am unable|'?m not|'?m unable)\b",
    r"\b(?:it is|it's|it would be|that would be) (?:not (?:appropriate|ethical)|inappropriate"
    r"|unethical|illegal) (?:for me )?to\b",
    r"\bagainst my (?:programming|guidelines|policy|policies|principles)\b",
)

_PLAIN = str.maketrans({"\u2019": "'", "\u2018": "'", "\u02bc": "'"})


class Refusals:
    """Finds refusals.

    Args:
        further: regular expressions beside PATTERNS.
        characters: of the start of an answer that are looked at.
    """

    def __init__(self, further: Iterable[str] = (), characters: int = 300) -> None:
        self._patterns = [re.compile(p, re.IGNORECASE) for p in (*PATTERNS, *further)]
        self._characters = characters

    def found(self, answer: str) -> str | None:
        """Return the words that refuse, of the first pattern that matches; None where none does."""
        head = answer[: self._characters].translate(_PLAIN)
        for pattern in self._patterns:
            if match := pattern.search(head):
                return match.group(0)
        return None
