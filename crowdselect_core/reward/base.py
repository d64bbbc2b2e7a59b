"""What every reward model is given and gives back.

Like the engines of `generate`: items are taken lazily, a bounded number is held, and scores are
handed over in any order.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from crowdselect_core.chat import Message
from crowdselect_core.generate.base import Failure


@dataclass(frozen=True, slots=True)
class Item:
    """One answer to be scored."""

    key: bytes  # 16 bytes that name the cell
    messages: tuple[Message, ...]  # the prompt, its system message included
    text: str  # the final answer, never empty
    extra: Mapping[str, Any] = field(default_factory=dict)  # columns that a function asked for
    reference: str | None = None  # pairwise judges: the answer it is held against


@dataclass(frozen=True, slots=True)
class Score:
    """What a reward model says of one answer; higher is better.

    `scores` has one number per head of the scorer, the main one first; it is empty where there is
    an error. A score is never a default.
    """

    key: bytes
    scores: tuple[float, ...] = ()
    error: str | None = None  # begins with a short code, as an Answer's
    failure: Failure | None = None
    raw: str | None = None  # a judge's words
    truncated: bool = False  # the pair was cut at max_length


class Scorer(Protocol):
    """One reward model. `heads` names its scores: '' is the main one, which comes first."""

    heads: tuple[str, ...]

    def check(self) -> None:
        """Find out quickly whether it could score; raises UserError with the reason."""
        ...

    def run(self, items: Iterator[Item], done: Callable[[Score], None]) -> None:
        """Score every item, calling `done` from this thread as scores come."""
        ...

    def close(self) -> None:
        """Free what the scorer holds: a model, a server, worker processes."""
        ...


def unscored(key: bytes, code: str, why: str, failure: Failure, raw: str | None = None) -> Score:
    """Return a score that is an error: a short code, and words for people."""
    return Score(key, error=f"{code}: {why}"[:500], failure=failure, raw=raw)
