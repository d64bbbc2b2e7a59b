"""Replies that cannot be read: a model that answers nonsense is stopped, not paid to the end."""

from crowdselect_core.generate.call_tracker import TooManyFailures

EARLY = 50  # rows after which a run is stopped that mostly gets nonsense


class Nonsense:
    """Counts the replies of one run.

    Args:
        name: the method, for the message.
        planned: rows that this run annotates.
        limit: share of them whose replies may be unreadable.
    """

    def __init__(self, name: str, planned: int, limit: float) -> None:
        self._name, self._planned, self._limit = name, planned, limit
        self._read = self._unread = 0
        self._last = ""

    def read(self) -> None:
        """Count a reply that says something."""
        self._read += 1

    def unread(self, error: str) -> None:
        """Count a reply that does not.

        Raises:
            TooManyFailures: of many replies most say nothing.
        """
        self._unread += 1
        self._last = error
        mostly = self._limit < 1 and self._unread > self._read
        if self._read + self._unread >= EARLY and mostly:
            raise TooManyFailures(self._complaint())

    def check(self) -> None:
        """Raise TooManyFailures where too many replies of the whole run say nothing."""
        if self._unread > self._limit * max(self._planned, 1):
            raise TooManyFailures(self._complaint())

    def _complaint(self) -> str:
        done = self._read + self._unread
        share = self._unread / max(done, 1)
        return (
            f"method {self._name}: {self._unread:,} of {done:,} rows ({share:.0%}) have no usable "
            f"reply, at most {self._limit:.0%} may (max_unparsed; the last: {self._last}); what "
            "came is stored: choose a model that follows the format, or raise its "
            "sampling.max_tokens"
        )
