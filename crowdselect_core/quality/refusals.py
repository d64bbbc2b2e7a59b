"""Refusals: answers that begin by declining, told by patterns at their start.

The patterns are matched without case in the first characters of the answer, typographic apostrophes
read as plain ones. They are stated in docs/quality.md. A refusal in another language, or one that
comes late, is not found.
"""

import re
from collections.abc import Iterable

_CANNOT = r"(?:can'?t|cannot|can not|won'?t|will not)"
# Not "only", "simply" and the like: these begin an answer that goes further, or a reservation.
_ADVERB = r"(?!(?:only|simply|merely|solely|fully|completely|entirely)\b)\w+ly "
# Not "can't help but", "won't give up", "can't recommend it enough".
_VERBS = (
    r"answer|assist|comply|continue|create|discuss|do|engage|fulfil|fulfill|generate"
    r"|give(?! (?:away|in|up)\b)|help(?! (?:but|it|myself|\w+ing)\b)|offer|participate|produce"
    r"|promote|provide|recommend(?![^.!?\n]{0,60}\benough\b)|satisfy|share|support|write"
)
_IMPROPER = "(?:not (?:appropriate|ethical)|inappropriate|unethical"
_IT_IS = r"\b(?:it is|it's|it would be|that would be) "
PATTERNS = (
    r"\b(?:i'?m|i am) (?:(?:very|so|really|deeply|truly) )?sorry,? but\b",
    r"\bi apologi[sz]e,? but\b",
    r"\bsorry,? (?:but )?i (?:can'?t|cannot|can not|won'?t|am unable|'?m unable)\b",
    r"\b(?:i'?m|i am) (?:unable|not able|not allowed|not permitted|not programmed) to\b",
    rf"\bi {_CANNOT}(?:,? (?:and|or) {_CANNOT})?,? (?:in good (?:conscience|faith),? )?"
    rf"(?:{_ADVERB})?(?:{_VERBS})\b",
    r"\bi (?:must|have to) (?:respectfully |politely )?(?:decline|refuse)\b",
    r"\bas an? (?:ai|artificial intelligence|(?:large )?language model)\b[^.!?\n]{0,60}"
    r"\bi (?:can'?t|cannot|can not|don'?t|do not|am not|am unable|'?m not|'?m unable)\b",
    # What is illegal or improper is what many questions are about: only what the writer may not do.
    rf"{_IT_IS}{_IMPROPER}|illegal) for me to\b",
    rf"{_IT_IS}{_IMPROPER}) to (?:say (?:any )?more\b|(?:answer|assist|comply|create|fulfil|fulfill"
    r"|generate|help|produce|provide|satisfy|write)\b(?: \w+){0,3}? (?:(?:this|that|such an?|your)"
    r" (?:\w+ )?request|such (?:\w+ )?(?:advice|content|information|instructions|material))\b)",
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
