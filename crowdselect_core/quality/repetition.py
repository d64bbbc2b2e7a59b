"""Repetition in a text, by the rules of Gopher.

Rae et al., "Scaling Language Models: Methods, Analysis & Insights from Training Gopher" (2021,
arXiv 2112.11446), appendix A.1 and table A1; datatrove's GopherRepetitionFilter has the same
limits.

Lines and paragraphs are those with a character other than white space, without white space around
them; a line that stands k times counts k - 1 times as a duplicate. Words are the runs between white
space; characters of n-grams are counted in the text with single spaces between its words.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

JUDGED = 50_000  # characters of a text that are looked at


@dataclass(frozen=True)
class Limits:
    """The most of each share that a text may have, 0 to 1: the keys of `RepetitionGate`."""

    min_words: int
    duplicate_lines: float
    duplicate_paragraphs: float
    duplicate_line_characters: float
    duplicate_paragraph_characters: float
    top_ngrams: Mapping[int, float] = field(default_factory=dict)
    duplicate_ngrams: Mapping[int, float] = field(default_factory=dict)


def repetition(text: str, limits: Limits) -> tuple[str, float] | None:
    """Return the first share of a text that is above its limit, and that share.

    Args:
        text: of which the first JUDGED characters are judged.
        limits: the most of each share.

    Returns:
        None where the text is within all limits, or has fewer than `min_words` words.
    """
    head = text[:JUDGED]
    words = head.split()
    if len(words) < limits.min_words:
        return None
    for name, share, limit in _shares(head, words, limits):
        if share > limit:
            return name, share
    return None


def _shares(text: str, words: Sequence[str], limits: Limits) -> Iterator[tuple[str, float, float]]:
    parts = (
        ("lines", "line", text.split("\n"), limits.duplicate_lines,
         limits.duplicate_line_characters),
        ("paragraphs", "paragraph", _paragraphs(text), limits.duplicate_paragraphs,
         limits.duplicate_paragraph_characters),
    )  # fmt: skip
    for many, one, found, most, most_characters in parts:
        share, characters = duplicate_shares(found)
        yield f"duplicate_{many}", share, most
        yield f"duplicate_{one}_characters", characters, most_characters
    for n, most in sorted(limits.top_ngrams.items()):
        yield f"top_{n}_gram", top_ngram_share(words, n), most
    for n, most in sorted(limits.duplicate_ngrams.items()):
        yield f"duplicate_{n}_grams", duplicate_ngram_share(words, n), most


def duplicate_shares(parts: Sequence[str]) -> tuple[float, float]:
    """Return the share of the parts, and of their characters, that repeat an earlier one."""
    counted = Counter(stripped for part in parts if (stripped := part.strip()))
    total = counted.total()
    if not total:
        return 0.0, 0.0
    characters = sum(len(part) * n for part, n in counted.items())
    repeated = sum(len(part) * (n - 1) for part, n in counted.items())
    return (total - len(counted)) / total, repeated / characters


def top_ngram_share(words: Sequence[str], n: int) -> float:
    """Return the share of the characters that the commonest n-gram takes, all its places counted.

    Of n-grams that stand equally often the longest counts; one that stands once is no repetition.
    """
    counted = Counter(zip(*(words[i:] for i in range(n)), strict=False))
    most = max(counted.values(), default=0)
    if most < 2:
        return 0.0
    longest = max(_characters(gram) for gram, count in counted.items() if count == most)
    return min(1.0, longest * most / _characters(words))


def duplicate_ngram_share(words: Sequence[str], n: int) -> float:
    """Return the share of the characters in n-grams that repeat an earlier one.

    As in datatrove, the first place of an n-gram is no repetition, and none is looked for at the
    words of one that is. So a word counts once.
    """
    seen: set[tuple[str, ...]] = set()
    repeated = place = 0
    while place + n <= len(words):
        gram = tuple(words[place : place + n])
        if gram in seen:
            repeated += _characters(gram)
            place += n
        else:
            seen.add(gram)
            place += 1
    return repeated / _characters(words) if repeated else 0.0


def _characters(words: Sequence[str]) -> int:
    """Count the characters of words with single spaces between them."""
    return sum(map(len, words)) + len(words) - 1


def _paragraphs(text: str) -> list[str]:
    """Return the paragraphs: what blank lines part."""
    paragraphs: list[str] = [""]
    for line in text.split("\n"):
        if line.strip():
            paragraphs[-1] += f"{line}\n"
        elif paragraphs[-1]:
            paragraphs.append("")
    return paragraphs
