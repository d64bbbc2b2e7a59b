"""What a computation has to tell its user: handed to whoever asked for it, else logged."""

import logging
from collections.abc import Callable

Warn = Callable[[str], None]


def log_warning(note: str) -> None:
    """Log a note; what is computed does not depend on the log."""
    logging.getLogger("crowdselect").warning("%s", note)
