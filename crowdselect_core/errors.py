"""The errors of the library: those that a user can correct, and the others.

Every message says where, the actual value, the expected one and what to do. A `UserError` ends a
run with exit 2 and its one line; any other error is a bug or a failure and ends it with exit 1.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """An error that the user can correct: a flag, a file, a column, a budget, a credential."""


class ConfigError(UserError):
    """An invalid key, flag, environment variable or value."""


class DatasetError(UserError):
    """The data set is missing, corrupt, of another format or inconsistent."""


class CrowdError(UserError):
    """The crowd does not fit the data set or the metrics asked for."""


class SelectionError(UserError):
    """The rows asked for cannot be chosen: budget, clusters, weights."""


class EvaluationError(UserError):
    """Judgments, questions or answers of a benchmark are missing, damaged or of another kind."""


class StorageError(UserError):
    """A store, an output folder or a data set cannot be reached, read or written."""


class TransientStorageError(StorageError):
    """A transient storage failure, which is retried."""


class DamagedArtifact(RuntimeError):
    """Stored bytes do not match their name or manifest; the caller computes them again."""


class ReportError(RuntimeError):
    """The report of a run could not be made; the other results are there."""


class Stopped(Exception):
    """The run was asked to stop (cancel from the UI); committed results stay."""


def reworded(error: UserError, message: str) -> UserError:
    """Return an error of the same kind with another message."""
    try:
        return type(error)(message)
    except TypeError:  # a kind that is made of more than a message
        return UserError(message)


def located(error: UserError, where: str) -> UserError:
    """Return an error of the same kind that says first where it happened."""
    return reworded(error, f"{where}: {error}")


def first_line(error: BaseException, most: int = 160) -> str:
    """Return the first line of an error's message, or its type without one."""
    lines = str(error).strip().splitlines()
    return lines[0][:most] if lines else type(error).__name__


def nearest(name: str, names: Iterable[str]) -> str:
    """Return ', did you mean X?' for the closest of `names`, or '' when none is close."""
    close = get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f", did you mean {close[0]!r}?" if close else ""


def shown(names: Iterable[object], most: int = 40) -> str:
    """Join names for a message: at most `most` of them, each cut to 80 characters."""
    listed = [repr(n)[1:-1][:80] if isinstance(n, str) else str(n) for n in names]
    rest = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + rest
