"""Words of a text and its shingles: what near-duplicates are compared by.

Text is normalised by Unicode NFC and case folding. A word is a run of letters, digits, marks and
underscores; of scripts that are written without spaces (Han, kana, Thai, Lao, Myanmar, Khmer) every
character is one; so is an arithmetic operator. White space and all other punctuation are ignored.
"""

import re
from collections.abc import Sequence
from hashlib import blake2b
from unicodedata import normalize

N = 5  # words of a shingle

# Marks that `\w` does not match although they are parts of words: of Latin, Hebrew, Arabic, Indic.
_MARKS = "\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0670\u06d6-\u06ed\u0900-\u0963\u0966-\u0dff"
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
_LONE = re.compile("[\ud800-\udfff]")  # half a character, which is no valid UTF-8
_WORD = re.compile(rf"[{_UNSPACED}]|(?:(?![{_UNSPACED}])[\w{_MARKS}])+|[+*/=<>^%−×÷-]")


def words(text: str) -> list[str]:
    """Return the normalised words of a text; one of symbols alone, its parts between white space.

    A text of nothing but white space has none.
    """
    normal = _LONE.sub("\ufffd", normalize("NFC", text).casefold())
    return _WORD.findall(normal) or normal.split()


def words_key(said: Sequence[str]) -> bytes:
    """Return 16 bytes that name the words of a text; b'' without any."""
    return blake2b(" ".join(said).encode(), digest_size=16).digest() if said else b""


def shingles(of: Sequence[str], n: int = N) -> set[str]:
    """Return the distinct n-grams of words; of fewer words than n, all of them as the only one.

    Memory: linear in the text.
    """
    if not of:
        return set()
    if len(of) <= n:
        return {" ".join(of)}
    return {" ".join(of[i : i + n]) for i in range(len(of) - n + 1)}


def jaccard(a: set[str], b: set[str]) -> float:
    """Return |a and b| / |a or b|, in [0, 1]; 0 where both are empty."""
    common = len(a & b)
    total = len(a) + len(b) - common
    return common / total if total else 0.0
