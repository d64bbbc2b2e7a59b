"""What a worker answers, as JSON: a result or an error, and the lines that it logged.

An exception is sent as its name and words, never as a pickle.
"""

import json
import logging
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from crowdselect_core import errors
from crowdselect_core.generate.base import EngineDown
from crowdselect_core.generate.call_tracker import TooManyFailures

MOST_LINES = 50  # of one call's log
MOST_CHARACTERS = 1000  # of a line

log = logging.getLogger("crowdselect")

_KNOWN: dict[str, type[Exception]] = {
    kind.__name__: kind
    for kind in (*vars(errors).values(), TooManyFailures, EngineDown)
    if isinstance(kind, type) and issubclass(kind, Exception)
}


class RemoteError(RuntimeError):
    """A call on a worker failed for a reason that is none of the user's."""


@dataclass(frozen=True)
class Outcome:
    """The answer of a worker.

    Args:
        node: the address of its node.
        lines: what it logged: level and words.
        result: what it computed; None where it failed.
        error: the name of the exception.
        words: the exception's.
    """

    node: str
    lines: list[tuple[int, str]]
    result: Any = None
    error: str | None = None
    words: str = ""

    def relog(self, known: set[str]) -> None:
        """Log what the worker logged, with its node; a line that is known is left out."""
        for level, line in self.lines:
            if line not in known:
                log.log(level, "%s (Ray node %s)", line, self.node)
                known.add(line)

    def value(self, name: str) -> Any:
        """Return the result; raises the error, where it is one of this library's, as its type.

        Args:
            name: of the call, for messages.

        Raises:
            RemoteError: any other error.
        """
        if self.error is None:
            return self.result
        if known := _KNOWN.get(self.error):
            raise known(f"{self.words} (on Ray node {self.node})")
        raise RemoteError(
            f"{name} failed on Ray node {self.node}: {self.error}: {self.words}; the traceback is "
            "in the worker's log there"
        )


def answered(node: str, work: Callable[[], Any]) -> str:
    """Do some work in a worker, and return its outcome as JSON."""
    heard = _Heard()
    logger = logging.getLogger("crowdselect")
    level = logger.level
    logger.addHandler(heard)
    logger.setLevel(logging.INFO)
    try:
        result = work()
        outcome = Outcome(node, heard.told(), result)
    except Exception as e:
        traceback.print_exc(file=sys.stderr)  # into the worker's log
        outcome = Outcome(node, heard.told(), error=type(e).__name__, words=str(e))
    finally:
        logger.removeHandler(heard)
        logger.setLevel(level)
    return json.dumps(asdict(outcome))


def read(text: str) -> Outcome:
    """Read what a worker answered."""
    told = json.loads(text)
    return Outcome(**{**told, "lines": [(int(level), str(line)) for level, line in told["lines"]]})


class _Heard(logging.Handler):
    """Keeps the first lines that are logged; those of progress are the driver's own.

    What is more than is kept goes into the worker's log alone, and so do the steps of a training.
    """

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[tuple[int, str]] = []
        self._further = 0  # lines that are left out, or cut

    def emit(self, record: logging.LogRecord) -> None:
        if hasattr(record, "is_progress"):
            return
        line, step = record.getMessage(), hasattr(record, "is_step")
        kept = not step and len(self.lines) < MOST_LINES
        if kept:
            self.lines.append((record.levelno, line[:MOST_CHARACTERS]))
        if not kept or len(line) > MOST_CHARACTERS:
            print(line, file=sys.stderr, flush=True)
            self._further += not step

    def told(self) -> list[tuple[int, str]]:
        """Return the lines, and at their end how many of them are not whole or not there."""
        if not self._further:
            return self.lines
        last = f"{self._further:,} further or longer lines are in the worker's log"
        return [*self.lines, (logging.INFO, last)]
