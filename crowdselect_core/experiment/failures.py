"""An error of one cell says which cell it is of, and in which replicate."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from crowdselect_core.errors import SelectionError, Stopped, UserError, first_line, reworded
from crowdselect_core.experiment.grid import Point

# What an error of a choice tells to change, in the words of a selection and of an experiment.
ADVICE = {
    "give a smaller --budget, or --allow-short to": "give smaller experiment.budgets, or set "
    "allow_short: true to",
    "set --clusters to": "set experiment.clusters to",
}

log = logging.getLogger("crowdselect")


def where_is(point: Point) -> str:
    """Say which cell of an experiment a point is, and in which replicate."""
    return f"experiment: {point.cell.name}, {replicate_of(point)}"


def replicate_of(point: Point) -> str:
    """Say in which replicate of an experiment a point is."""
    replicate = point.replicate
    return f"replicate {replicate.number} (seed {replicate.seed})"


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
    if isinstance(error, SelectionError):  # others may quote a user's own command
        for of_selection, of_experiment in ADVICE.items():
            text = text.replace(of_selection, of_experiment)
    return text
