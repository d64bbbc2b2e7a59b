"""What every annotator is given and gives back.

An annotator says something of one row: of its instruction, or of the instruction and the answer
that would be kept. What it says is a cell of the call cache, so a row is annotated once. Like the
scorers of `reward`: rows are taken lazily, a bounded number is held, and annotations are handed
over in any order.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from crowdselect_core.chat import Message
from crowdselect_core.generate.base import Failure


@dataclass(frozen=True, slots=True)
class Row:
    """One row to be annotated."""

    key: bytes  # 16 bytes that name the cell
    messages: tuple[Message, ...]  # the prompt, its system message included
    instruction: str  # the user turns as one text
    response: str = ""  # the answer that would be kept; '' where the annotator reads none
    shard: int = -1  # of the table of scores; -1: a target


@dataclass(frozen=True, slots=True)
class Annotation:
    """What an annotator says of one row.

    `cell` has a value for each of the annotator's columns; it is empty where the row could not be
    annotated, and `error` then says why. An annotation may have both: a number, and why the method
    drops the row. It is never a default.
    """

    key: bytes
    cell: tuple[Any, ...] = ()
    error: str | None = None  # begins with a short code, as an Answer's
    failure: Failure | None = None


class Annotator(Protocol):
    """What annotates rows."""

    def check(self) -> None:
        """Find out quickly whether it could annotate; raises UserError with the reason."""
        ...

    def run(self, rows: Iterator[Row], done: Callable[[Annotation], None]) -> None:
        """Annotate every row, calling `done` from this thread as annotations come."""
        ...

    def close(self) -> None:
        """Free what it holds: a model, a server."""
        ...
