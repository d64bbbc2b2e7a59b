"""InsTag: normalised tags, their number as complexity, and complexity-first diverse sampling.

Source: Lu et al., arXiv 2308.07074, sections 3.2 and 5.1. Not done of its normalisation:
association rules of more than two tags. Array names carry their shape: T tags, D components.
"""

import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

NO_TAGS = "no_tags"  # reason of a row without a normalised tag

CONFIDENCE, SUPPORT = 0.99, 40  # of an association, as published

BLOCK = 1_000  # tags whose similarities to all are computed together

Tags = Sequence[Sequence[str] | None]
Embed = Callable[[Sequence[str]], NDArray[np.floating[Any]]]


def normalised(
    tags_N: Tags, min_frequency: int, embed: Embed | None = None, similarity: float = 1.0
) -> list[list[str]]:
    """Return the normalised tags of rows, each once and in alphabetical order.

    1. Frequency: tags of fewer than `min_frequency` rows go (20 as published).
    2. Lexical aggregation: lower case, no special characters, the plural -s of words removed.
    3. Semantic aggregation, given `embed`: tags that are joined by cosine similarities of at least
       `similarity` become the most frequent one of them (ties by name). That is DBSCAN, as
       published, with clusters of one tag and more.
    4. Association: a tag of at least 40 rows that in 99% of them stands beside another, more
       frequent one is replaced by that one (ties by name).

    Args:
        tags_N: as an LLM wrote them; None where there are none.
        min_frequency: 1 keeps all.
        embed: from tags to vectors_TD; without it step 3 is left out.
        similarity: above 0 and up to 1.
    """
    counts = Counter(tag for tags in tags_N for tag in set(tags or ()))
    kept = [{t for t in tags or () if counts[t] >= min_frequency} for tags in tags_N]
    plain = [{word for t in tags if (word := lexical(t))} for tags in kept]
    if embed is not None:
        plain = _replaced(plain, _alike(plain, embed, similarity))
    return [sorted(tags) for tags in _replaced(plain, _associated(plain))]


def lexical(tag: str) -> str:
    """Return a tag in lower case, with single spaces for special characters, and singular words."""
    words = re.sub(r"[\W_]+", " ", tag.lower()).split()
    return " ".join(map(_singular, words))


def sampling_scores(tags_N: Sequence[Sequence[str]], picks: int) -> list[float]:
    """Return scores by which rows stand in the order of complexity-first diverse sampling.

    The rows are sorted by their number of tags, the most first (ties by place). A pass starts from
    an empty set of tags and takes every row that adds a tag to it; passes follow until `picks` rows
    are taken. The row that is taken n-th scores picks - n + 1; a row that is not taken scores its
    number of tags / (1 + the most) - 1. A row without tags is never taken.

    Args:
        tags_N: normalised.
        picks: how many rows are taken, at most those that have tags.
    """
    most = max((len(tags) for tags in tags_N), default=0)
    scores_N = [len(tags) / (1 + most) - 1 for tags in tags_N]
    order_E = sorted((i for i, t in enumerate(tags_N) if t), key=lambda i: -len(tags_N[i]))
    picks = min(picks, len(order_E))
    taken = islice(_taken([tags_N[row] for row in order_E]), picks)
    for number, place in enumerate(taken):
        scores_N[order_E[place]] = float(picks - number)
    return scores_N


def _taken(tags_E: Sequence[Sequence[str]]) -> Iterator[int]:
    """Yield the places of the rows in the order in which the passes take them.

    The next row of a pass is the first waiting one of any tag that the pass has not covered: those
    before it add nothing. So a pass goes through the tags in the order of their first waiting rows,
    and time grows with the tags of the rows that are taken. Memory: 8 bytes for each tag of a row.

    Args:
        tags_E: of the rows in their order, at least one each.
    """
    places_of: dict[str, array[int]] = {}
    for place, tags in enumerate(tags_E):
        for tag in tags:
            places_of.setdefault(tag, array("q")).append(place)
    first_of = dict.fromkeys(places_of, 0)  # index of the first waiting row of a tag
    taken_E = bytearray(len(tags_E))
    while first_of:
        firsts = []
        for tag, first in list(first_of.items()):
            places = places_of[tag]
            while first < len(places) and taken_E[places[first]]:
                first += 1
            if first == len(places):
                del first_of[tag]
                continue
            first_of[tag] = first
            firsts.append((places[first], tag))
        covered: set[str] = set()
        for place, tag in sorted(firsts):
            if tag not in covered:
                covered.update(tags_E[place])
                taken_E[place] = 1
                yield place


def _singular(word: str) -> str:
    """Remove a plural -s as Harman's s-stemmer does (JASIS 1991)."""
    if word.endswith("ies") and not word.endswith(("eies", "aies")) and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith("es") and not word.endswith(("aes", "ees", "oes")):
        return word[:-1]
    if word.endswith("s") and not word.endswith(("us", "ss", "is")) and len(word) > 3:
        return word[:-1]
    return word


def _replaced(tags_N: Sequence[set[str]], merged: dict[str, str]) -> list[set[str]]:
    return [{merged.get(tag, tag) for tag in tags} for tags in tags_N]


def _alike(tags_N: Sequence[set[str]], embed: Embed, similarity: float) -> dict[str, str]:
    """Return the tags that one of like meaning replaces, each with that one."""
    counts = Counter(tag for tags in tags_N for tag in tags)
    names = sorted(counts, key=lambda tag: (-counts[tag], tag))
    if not names:
        return {}
    vectors_TD = np.asarray(embed(names), dtype=np.float64)
    lengths_T1 = np.linalg.norm(vectors_TD, axis=1, keepdims=True)
    units_TD = vectors_TD / np.where(lengths_T1 > 0, lengths_T1, 1.0)
    pairs = []
    for start in range(0, len(names), BLOCK):
        near = units_TD[start : start + BLOCK] @ units_TD.T >= similarity - 1e-6
        pairs.append(np.argwhere(near) + np.array([start, 0]))
    one, other = np.concatenate(pairs).T
    edges = coo_array((np.ones(len(one), dtype=np.int8), (one, other)), shape=(len(names),) * 2)
    _, labels_T = connected_components(edges, directed=False)
    _, first = np.unique(labels_T, return_index=True)  # the most frequent of each
    chosen = first[labels_T].tolist()
    return {tag: names[at] for tag, at in zip(names, chosen, strict=True) if tag != names[at]}


def _associated(tags_N: Sequence[set[str]]) -> dict[str, str]:
    """Return the tags that are replaced, each with what replaces it."""
    counts = Counter(tag for tags in tags_N for tag in tags)
    frequent = {tag for tag, n in counts.items() if n >= SUPPORT}
    together: dict[str, Counter[str]] = {tag: Counter() for tag in frequent}
    for tags in tags_N:
        common = tags & frequent
        for tag in common:
            together[tag].update(common)
    merged: dict[str, str] = {}
    for tag in sorted(frequent):
        others = [
            other
            for other, n in together[tag].items()
            if n >= CONFIDENCE * counts[tag] and (counts[other], tag) > (counts[tag], other)
        ]
        if others:
            merged[tag] = min(others, key=lambda o: (-counts[o], o))
    for tag in merged:  # to the end of a chain
        while merged[tag] in merged:
            merged[tag] = merged[merged[tag]]
    return merged
