"""Terms of a text in any script, for the lexical embedder.

Words are runs of letters, marks, digits and underscores, as far as a script puts spaces between
them. Where it does not (Chinese, Japanese, Thai, Lao, Khmer, Burmese), every character and every
two neighbours are a term, which is what Lucene's CJK analysis indexes: no dictionary is needed,
and two texts that share a word share its pairs. Character n-grams of all texts (scikit-learn's
`char_wb`) would serve every script alike, but took seven times as long on English and grouped
topics no better.
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import cache

LONGEST = 40  # a longer run is cut into several: base64 and URLs would fill the vocabulary's memory
LAST_CODE_POINT = 0x3FFFF  # beyond lie tags and private use

# Scripts that do not separate words: Thai and Lao, Burmese, Khmer, Tai Lue, kana and bopomofo, Han.
UNSPACED = (
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x1950, 0x19DF),
    (0x2E80, 0x2FDF),
    (0x3005, 0x3007),
    (0x3021, 0x312F),
    (0x31A0, 0x31BF),
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xA9E0, 0xA9FF),
    (0xAA60, 0xAA7F),
    (0xF900, 0xFAFF),
    (0x20000, LAST_CODE_POINT),
)
_ASCII_WORD = re.compile(rf"\w{{1,{LONGEST}}}")


def terms(text: str) -> list[str]:
    """Return the terms of a text, repeats included, in lower case and NFKC; [] where it has none.

    Takes any string: NUL, markup, lone surrogates and symbols separate words.
    """
    if text.isascii():
        return _ASCII_WORD.findall(text.lower())
    text = unicodedata.normalize("NFKC", text).lower()
    word, unspaced = _patterns()
    found: list[str] = word.findall(text)
    for run in unspaced.findall(text):
        found += run
        found += [run[i : i + 2] for i in range(len(run) - 1)]
    return found


@cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Compile the patterns of a word and of an unspaced run.

    `\\w` would not do: it leaves out combining marks, and so cuts Hindi words at their vowels.
    """
    inside = {c for first, last in UNSPACED for c in range(first, last + 1)}
    letters = [c for c in range(LAST_CODE_POINT + 1) if _is_word_character(chr(c))]
    spaced = _character_class(c for c in letters if c not in inside)
    unspaced = _character_class(c for c in letters if c in inside)
    return re.compile(f"[{spaced}]{{1,{LONGEST}}}"), re.compile(f"[{unspaced}]+")


def _is_word_character(character: str) -> bool:
    category = unicodedata.category(character)
    return category[0] in "LMN" or category == "Pc"


def _character_class(code_points: Iterable[int]) -> str:
    """Write ascending code points as the ranges of a regular expression's [...]."""
    ranges: list[list[int]] = []
    for c in code_points:
        if ranges and c == ranges[-1][1] + 1:
            ranges[-1][1] = c
        else:
            ranges.append([c, c])
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in ranges)
