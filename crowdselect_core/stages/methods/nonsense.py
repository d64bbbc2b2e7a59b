"""Replies that cannot be read: a model that answers nonsense is stopped, not paid to the end."""

import polars as pl

from crowdselect_core.generate.call_tracker import TooManyFailures

UNPARSED = "unparsed"  # what the error of such a reply begins with
EARLY = 50  # rows after which a run is stopped that mostly gets nonsense


class Nonsense:
    """Counts the replies of one run, to stop it early, and at its end those of all rows.

    Args:
        name: the method, for the message.
        limit: share of all rows' replies that may be unreadable.
    """

    def __init__(self, name: str, limit: float) -> None:
        self._name, self._limit = name, limit
        self._read = self._unread = 0
        self._last = ""

    def read(self) -> None:
        """Count a reply that says something."""
        self._read += 1

    def failed(self, error: str) -> None:
        """Count a reply that is an error about its row.

        Raises:
            TooManyFailures: of many replies most say nothing.
        """
        if not error.startswith(UNPARSED):
            self.read()
            return
        self._unread += 1
        self._last = error
        mostly = self._limit < 1 and self._unread > self._read
        if self._read + self._unread >= EARLY and mostly:
            raise TooManyFailures(self._complaint())

    def check(self, errors: pl.Series) -> None:
        """Raise TooManyFailures where too many replies say nothing, whenever they came.

        Args:
            errors: of every row that has a reply; null where it has none.
        """
        unread = errors.filter(errors.str.starts_with(UNPARSED).fill_null(False)).sort()
        self._unread, self._read = len(unread), len(errors) - len(unread)
        if self._unread > self._limit * len(errors):
            self._last = unread[-1]
            raise TooManyFailures(self._complaint())

    def _complaint(self) -> str:
        done = self._read + self._unread
        share = self._unread / max(done, 1)
        return (
            f"method {self._name}: {self._unread:,} of {done:,} rows ({share:.0%}) have no usable "
            f"reply, at most {self._limit:.0%} may (max_unparsed; e.g. {self._last}); what "
            "came is stored: choose a model that follows the format, or raise its "
            "sampling.max_tokens"
        )
