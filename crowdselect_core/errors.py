"""The errors of the library: what a user can mend, and what is broken.

Every message says where, what was found, what was expected and what to do. A `UserError` ends a
run with exit 2 and its one line; anything else is a fault of ours and ends it with exit 1.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """Something the user can mend: a flag, a file, a column, a budget, a credential."""


class ConfigError(UserError):
    """A key, a flag, an environment variable or a value that cannot be."""


class DatasetError(UserError):
    """The data set is missing, damaged, of another format or contradicts itself."""


class CrowdError(UserError):
    """The crowd does not fit the data set or the metrics asked for."""


class SelectionError(UserError):
    """The rows asked for cannot be chosen: budget, clusters, weights."""


class EvaluationError(UserError):
    """Judgments, questions or answers of a benchmark are missing, damaged or of another kind."""


class StorageError(UserError):
    """A store, an output place or a data set's place cannot be reached, read or written."""


class TransientStorageError(StorageError):
    """A storage failure that may pass by itself, so that trying again is worth it."""


class DamagedArtifact(RuntimeError):
    """Stored bytes are not what their name or manifest says; the caller computes them anew."""


class Stopped(Exception):
    """The run was asked to stop (cancel from the UI); what was committed is kept."""


def first_line(error: BaseException, most: int = 160) -> str:
    """Return the first line of an error's words, or its kind where it has none."""
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
