"""What the evaluations of trained cells note, a line for each kind of note.

A cell is evaluated by itself in every replicate, so a grid of 4 cells and 10 replicates notes the
same thing up to 40 times, each time with counts of its own:

    heldout-loss: 82 of 161 rows have more than 512 tokens for one and are left out
    heldout-loss: 103 of 189 rows have more than 512 tokens for one and are left out

Notes that differ in their numbers alone are of one kind. Their line has the range of each number
that differs, and says how many cells and replicates note it:

    heldout-loss: 82 to 103 of 161 to 189 rows have more than 512 tokens for one and are left out
    (4 of 4 trained cells, 10 of 10 replicates)
"""

import re
from collections.abc import Sequence

from crowdselect_core.experiment.made import Made
from crowdselect_core.util.text import plural

# A number that stands alone: the digits of a name (smollm2, gpt-4.1, n=64, v0.1) are not one.
NUMBER = re.compile(r"(?<![\w.,:=/+-])(-?\d+(?:,\d{3})*(?:\.\d+)?%?)(?![\w=/+-]|[.,:]\w)")


def grouped(made: Sequence[Made]) -> list[str]:
    """Return a line for each kind of note, in the order in which the kinds first come.

    Args:
        made: the cells in their replicates; of how many a kind is said, counts the trained ones.
    """
    kinds: dict[tuple[str, ...], list[tuple[Made, tuple[str, ...]]]] = {}
    for one in made:
        for note in dict.fromkeys(one.notes):
            parts = NUMBER.split(note)  # the words, and between any two of them a number
            kinds.setdefault(tuple(parts[::2]), []).append((one, tuple(parts[1::2])))
    trained = [one for one in made if one.model is not None]
    return [_line(words, noted, trained) for words, noted in kinds.items()]


def _line(
    words: tuple[str, ...], noted: list[tuple[Made, tuple[str, ...]]], trained: Sequence[Made]
) -> str:
    ranges = [_range(numbers) for numbers in zip(*(n for _, n in noted), strict=True)]
    text = "".join(a + b for a, b in zip(words, [*ranges, ""], strict=True))
    cells, replicates = ({one.cell for one, _ in noted}, {one.replicate for one, _ in noted})
    of_cells = plural(len({one.cell for one in trained}), "trained cell")
    of_replicates = plural(len({one.replicate for one in trained}), "replicate")
    return f"{text} ({len(cells)} of {of_cells}, {len(replicates)} of {of_replicates})"


def _range(numbers: Sequence[str]) -> str:
    """Return the least and the greatest number as they are written; one where all are the same."""
    least, greatest = min(numbers, key=_value), max(numbers, key=_value)
    return least if least == greatest else f"{least} to {greatest}"


def _value(number: str) -> float:
    return float(number.replace(",", "").removesuffix("%"))
