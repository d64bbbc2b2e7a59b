"""Benchmark contamination: texts that hold a benchmark's prompt, or a part of one.

A text matches a prompt that shares an n-gram of words with it; n = 13 is GPT-3's (Brown et al.,
arXiv 2005.14165, appendix C), as in the Pile's and lm-evaluation-harness's decontamination. GPT-3
takes no n below 8. So a prompt of fewer than n words and at least 8 matches where all its words
stand in the text in a row, and a shorter one where the text is the prompt. With `min_overlap` above
0 that share of a prompt's n-grams has to be found (Tulu 3, arXiv 2411.15124: 8-grams, more than
half of the test prompt's tokens).

Words are those of `quality.shingles`: without case, white space and punctuation.

Shapes: T words of all texts in a row, B n-grams of the benchmarks.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from crowdselect_core.quality.shingles import words

NGRAM, SHORTEST = 13, 8

Ids = NDArray[np.int64]
Hashes = NDArray[np.uint64]

_FACTOR = 0x9E3779B97F4A7C15


@dataclass(frozen=True)
class Overlap:
    """A text that matches a prompt.

    Args:
        text: its place among the texts.
        prompt: the place of the prompt among the prompts.
        kind: `ngram`, `contained` (a short prompt) or `equal` (the same words).
        share: of the prompt's n-grams that stand in the text, above 0 and up to 1.
        shared: words that both have in a row, the first in the prompt.
    """

    text: int
    prompt: int
    kind: str
    share: float
    shared: str


def overlaps(
    texts: Sequence[str],
    prompts: Sequence[str],
    ngram: int = NGRAM,
    min_overlap: float = 0.0,
) -> list[Overlap]:
    """Return the texts that match a prompt, in order, each with the prompt it shares most of.

    Of prompts that it shares equally much of, the first counts. The work is linear in the texts.

    Args:
        texts: e.g. the instructions of training rows.
        prompts: of benchmarks.
        ngram: words of an n-gram, at least 2.
        min_overlap: the share of a prompt's n-grams that has to be found; 0: one is enough.
    """
    return PromptIndex(prompts, ngram, min_overlap).overlaps(texts)


class PromptIndex:
    """The n-grams of some prompts, to be looked for in any number of texts; see `overlaps`."""

    def __init__(
        self, prompts: Sequence[str], ngram: int = NGRAM, min_overlap: float = 0.0
    ) -> None:
        self._numbers: dict[str, int] = {}  # of words, from 1; 0 is every other word
        self._min_overlap = min_overlap
        self._prompts = [self._numbered(words(text)) for text in prompts]
        self._equal: dict[tuple[int, ...], int] = {}
        by_size: dict[int, list[int]] = {}
        for place, ids in enumerate(self._prompts):
            if ids:
                self._equal.setdefault(ids, place)
            size = min(ngram, len(ids))
            if size >= min(ngram, SHORTEST):
                by_size.setdefault(size, []).append(place)
        self._tables = [
            _Ngrams.of(size, {p: self._prompts[p] for p in places})
            for size, places in sorted(by_size.items())
        ]
        self._words = ["", *self._numbers]

    def _numbered(self, said: Sequence[str]) -> tuple[int, ...]:
        return tuple(self._numbers.setdefault(word, len(self._numbers) + 1) for word in said)

    def overlaps(self, texts: Sequence[str]) -> list[Overlap]:
        """Return the texts that match a prompt; see the function of this name."""
        known = self._numbers.get
        ids_of = [[known(word, 0) for word in words(text)] for text in texts]
        found: dict[int, list[Overlap]] = {}
        for text, ids in enumerate(ids_of):
            same = self._equal.get(tuple(ids)) if ids else None
            if same is not None:
                found[text] = [Overlap(text, same, "equal", 1.0, self._shown(ids[:NGRAM]))]
        joined_T = np.array([i for ids in ids_of for i in (*ids, 0)], dtype=np.int64)
        ends = np.cumsum([len(ids) + 1 for ids in ids_of])
        for table in self._tables:
            for (text, prompt), places in table.matches(joined_T, ends).items():
                asked = self._prompts[prompt]
                share = len(places) / (len(asked) - table.size + 1)
                if share >= self._min_overlap:
                    kind = "ngram" if len(asked) > table.size else "contained"
                    first = min(places)
                    shared = self._shown(asked[first : first + table.size])
                    found.setdefault(text, []).append(Overlap(text, prompt, kind, share, shared))
        return [min(found[t], key=lambda o: (-o.share, o.prompt)) for t in sorted(found)]

    def _shown(self, ids: Sequence[int]) -> str:
        return " ".join(self._words[i] for i in ids)


@dataclass
class _Ngrams:
    """The n-grams of one size: where they stand in which prompt, by their hashes."""

    size: int
    hashes_B: Hashes  # sorted
    places: Mapping[int, Sequence[tuple[int, int]]]
    prompts: Mapping[int, tuple[int, ...]] = field(repr=False)

    @classmethod
    def of(cls, size: int, prompts: Mapping[int, tuple[int, ...]]) -> "_Ngrams":
        places: dict[int, list[tuple[int, int]]] = {}
        for prompt, ids in prompts.items():
            hashes = _rolled(np.array(ids, dtype=np.int64), size)
            for place, hashed in enumerate(hashes.tolist()):
                places.setdefault(hashed, []).append((prompt, place))
        return cls(size, np.array(sorted(places), dtype=np.uint64), places, prompts)

    def matches(self, joined_T: Ids, ends: Ids) -> dict[tuple[int, int], set[int]]:
        """Return, by text and prompt, the places of the prompt's n-grams that stand in the text.

        Args:
            joined_T: the numbers of the words of all texts, each text with a 0 behind it.
            ends: where each text ends, behind its 0.
        """
        found: dict[tuple[int, int], set[int]] = {}
        for text, start, hashed in self._candidates(joined_T, ends):
            said = tuple(joined_T[start : start + self.size].tolist())
            for prompt, place in self.places[hashed]:
                if self.prompts[prompt][place : place + self.size] == said:
                    found.setdefault((text, prompt), set()).add(place)
        return found

    def _candidates(self, joined_T: Ids, ends: Ids) -> Iterator[tuple[int, int, int]]:
        """Yield text, place and hash of n-grams whose hash is ours; a text's equal ones once."""
        if len(joined_T) < self.size or not len(self.hashes_B):
            return
        unknown = np.concatenate([[0], np.cumsum(joined_T == 0)])
        whole = np.flatnonzero(unknown[self.size :] == unknown[: -self.size])
        hashes = _rolled(joined_T, self.size)[whole]
        at = np.searchsorted(self.hashes_B, hashes)
        at[at == len(self.hashes_B)] = 0
        ours = self.hashes_B[at] == hashes
        starts, hashes = whole[ours], hashes[ours]
        texts = np.searchsorted(ends, starts, side="right")
        order = np.lexsort((hashes, texts))
        texts, hashes = texts[order], hashes[order]
        once = np.concatenate([[True], (texts[1:] != texts[:-1]) | (hashes[1:] != hashes[:-1])])[
            : len(texts)
        ]
        starts = starts[order][once]
        yield from zip(texts[once].tolist(), starts.tolist(), hashes[once].tolist(), strict=True)


def _rolled(ids_T: Ids, size: int) -> Hashes:
    """Return a 64-bit polynomial hash of every run of `size` numbers."""
    width = len(ids_T) - size + 1
    hashes = np.zeros(width, dtype=np.uint64)
    mixed_T = (ids_T.astype(np.uint64) + np.uint64(1)) * np.uint64(0xC2B2AE3D27D4EB4F)
    for step in range(size):
        hashes *= np.uint64(_FACTOR)
        hashes += mixed_T[step : step + width]
    return hashes
