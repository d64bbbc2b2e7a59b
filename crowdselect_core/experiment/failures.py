"""An error of one cell says which cell it is of, and in which replicate."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

from crowdselect_core.errors import Stopped, UserError, first_line, reworded
from crowdselect_core.experiment.grid import Point

# Flags of a selection that an error tells to change, by the key that sets them for the cells.
KEYS = {"--budget": "experiment.budgets", "--clusters": "experiment.clusters"}

log = logging.getLogger("crowdselect")


def where_is(point: Point) -> str:
    """Say which cell of an experiment a point is, and in which replicate."""
    replicate = point.replicate
    return f"experiment: {point.cell.name}, replicate {replicate.number} (seed {replicate.seed})"


@contextmanager
def named(point: Point) -> Iterator[None]:
    """Put the cell and the replicate in front of the error of what is done for it.

    An error that the user can correct keeps its kind. Any other is left as it is, since others
    decide by it what happens next, and the log says where it was raised.

    Raises:
        UserError: as it was raised, with the cell and the replicate in front of the message.
    """
    try:
        yield
    except UserError as e:
        raise reworded(e, f"{where_is(point)}: {_with_keys(e)}") from e
    except Stopped:
        raise
    except Exception as e:
        log.warning("%s: %s", where_is(point), first_line(e))
        raise


@contextmanager
def with_keys() -> Iterator[None]:
    """Let an error that names its cell already name the keys of an experiment too, not flags."""
    try:
        yield
    except UserError as e:
        raise reworded(e, _with_keys(e)) from e


def _with_keys(error: UserError) -> str:
    text = str(error)
    for flag, key in KEYS.items():
        text = re.sub(rf"{flag}(?![\w-])", key, text)
    return text
