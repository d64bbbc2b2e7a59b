"""The language of a text, by py3langid: offline, 139 languages, naive Bayes over byte n-grams.

Lui and Baldwin, "langid.py: An Off-the-shelf Language Identification Tool" (ACL 2012). Code blocks
are left out, which are in no language.
"""

import re
from collections.abc import Collection
from functools import cache
from typing import Protocol, cast

from crowdselect_core.errors import ConfigError, nearest, shown
from crowdselect_core.util.extras import install

JUDGED = 1_000  # characters of a text that are looked at
_CODE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
NO_LANGUAGE = "zxx"  # ISO 639-2: no linguistic content


class Identifier(Protocol):
    """What tells the language of a text."""

    labels: list[str]

    def classify(self, text: str) -> tuple[str, float]:
        """Return the code of the most probable language and its probability."""
        ...


@cache
def identifier() -> Identifier:
    """Return the identifier, loaded once (30 MB, about a second).

    Raises:
        ConfigError: py3langid is not installed.
    """
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError:
        raise ConfigError(
            f"quality.language needs py3langid, which is not installed: {install('quality')}"
        ) from None
    return cast("Identifier", LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True))


def check_languages(codes: Collection[str]) -> None:
    """Refuse codes that the identifier does not know.

    Raises:
        ConfigError: names the code and the nearest; or py3langid is not installed.
    """
    known = sorted(set(identifier().labels) - {NO_LANGUAGE})
    for code in codes:
        if code not in known:
            raise ConfigError(
                f"quality.language: unknown language {code!r}{nearest(code, known)} "
                f"(known: {shown(known, 200)})"
            )


def other_language(
    text: str, languages: Collection[str], min_probability: float, min_letters: int = 1
) -> tuple[str, float] | None:
    """Return the language that a text is in, where it is none of those named.

    Args:
        text: of which the first JUDGED characters count.
        languages: codes that are kept.
        min_probability: how probable the other language is at least, above 0 and up to 1.
        min_letters: texts with fewer letters are in none.

    Returns:
        The code and its probability; None where the text may be in a language named.
    """
    head = _CODE.sub(" ", text[:JUDGED])
    if sum(map(str.isalpha, head)) < max(1, min_letters):
        return None
    code, probability = identifier().classify(head)
    if code == NO_LANGUAGE or code in languages or probability < min_probability:
        return None
    return code, probability
