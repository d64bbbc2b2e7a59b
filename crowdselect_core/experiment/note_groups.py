"""What the evaluations of trained cells note, a line for each kind of note.

A cell is evaluated by itself in every replicate, so a grid of 4 cells and 10 replicates notes the
same thing up to 40 times, each time with counts of its own:

    heldout-loss: 82 of 161 rows have more than 512 tokens for one and are left out
    heldout-loss: 103 of 189 rows have more than 512 tokens for one and are left out

Notes that differ in their numbers alone are of one kind. Their line has the range of each number
that differs, and says how many cells and replicates note it:

    heldout-loss: 82 to 103 of 161 to 189 rows have more than 512 tokens for one and are left out
    (4 of 4 trained cells, 10 of 10 replicates)

Where a note ends with the ids of what it counts, these are no part of its kind; the line has the
first few of all of its notes:

    one: no answer to 2 to 5 of 80 questions (2 to 5 length): 81, 97, 102, ...
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from crowdselect_core.experiment.made import Made
from crowdselect_core.util.text import plural

# A number that stands alone: the digits of a name (smollm2, gpt-4.1, n=64, v0.1) are not one.
NUMBER = re.compile(r"(?<![\w.,:=/+-])(-?\d+(?:,\d{3})*(?:\.\d+)?%?)(?![\w=/+-]|[.,:]\w)")


# Which questions or games a note counts: behind their number, to its end or a reason in brackets,
# which may hold brackets itself.
IDS = re.compile(
    r"(?<=\d )((?:questions|games)(?: \([^()]*\))?: )(.+?)"
    r"(?:, \.\.\.| and \d[\d,]* more)?((?: \(.*\))?)$"
)
HERE = "\0"  # stands in a text for the ids
NAMED = 3  # ids that a line names
LONGEST, KEPT = 24, 10  # characters of an id; of a longer one that many


@dataclass(frozen=True)
class _Note:
    """One note of a cell in a replicate.

    Args:
        made: the cell in the replicate.
        words: what tells its kind, and between any two of them a number.
        numbers: as they are written.
        ids: that it names.
    """

    made: Made
    words: tuple[str, ...]
    numbers: tuple[str, ...]
    ids: tuple[str, ...]


def grouped(made: Sequence[Made]) -> list[str]:
    """Return a line for each kind of note, in the order in which the kinds first come.

    Args:
        made: the cells in their replicates; of how many a kind is said, counts the trained ones.
    """
    kinds: dict[tuple[str, ...], list[_Note]] = {}
    for one in made:
        for text in dict.fromkeys(one.notes):
            note = _read(one, text)
            kinds.setdefault(note.words, []).append(note)
    trained = [one for one in made if one.model is not None]
    return [_line(noted, trained) for noted in kinds.values()]


def _read(made: Made, text: str) -> _Note:
    found, ids = IDS.search(text), tuple[str, ...]()
    if found is not None:
        ids = tuple(found[2].split(", "))
        text = f"{text[: found.start()]}{found[1]}{HERE}{found[3]}"
    parts = NUMBER.split(text)
    return _Note(made, tuple(parts[::2]), tuple(parts[1::2]), ids)


def _line(noted: Sequence[_Note], trained: Sequence[Made]) -> str:
    ranges = [_range(numbers) for numbers in zip(*(n.numbers for n in noted), strict=True)]
    text = "".join(a + b for a, b in zip(noted[0].words, [*ranges, ""], strict=True))
    text = text.replace(HERE, _named([name for note in noted for name in note.ids]))
    cells, replicates = ({n.made.cell for n in noted}, {n.made.replicate for n in noted})
    of_cells = plural(len({one.cell for one in trained}), "trained cell")
    of_replicates = plural(len({one.replicate for one in trained}), "replicate")
    return f"{text} ({len(cells)} of {of_cells}, {len(replicates)} of {of_replicates})"


def _named(ids: Sequence[str]) -> str:
    """Return the first few ids of a kind of note, long ones shortened."""
    known = [" ".join(map(_short, name.split(" "))) for name in dict.fromkeys(ids)]
    return ", ".join(known[:NAMED]) + (", ..." if len(known) > NAMED else "")


def _short(word: str) -> str:
    return word if len(word) <= LONGEST else f"{word[:KEPT]}..."


def _range(numbers: Sequence[str]) -> str:
    """Return the least and the greatest number as they are written; one where all are the same."""
    least, greatest = min(numbers, key=_value), max(numbers, key=_value)
    return least if least == greatest else f"{least} to {greatest}"


def _value(number: str) -> float:
    return float(number.replace(",", "").removesuffix("%"))
