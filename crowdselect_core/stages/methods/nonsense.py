"""Replies that cannot be read: a model that answers nonsense is stopped, not paid to the end."""

from crowdselect_core.generate.call_tracker import TooManyFailures

LIMIT = 0.1  # share of a run's rows whose replies may be unreadable
EARLY = 50  # rows after which a run is stopped that mostly gets nonsense


class Nonsense:
    """Counts the replies of one run.

    Args:
        name: the method, for the message.
        planned: rows that this run annotates.
    """

    def __init__(self, name: str, planned: int) -> None:
        self._name, self._planned = name, planned
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
        if self._read + self._unread >= EARLY and self._unread > self._read:
            raise TooManyFailures(self._complaint())

    def check(self) -> None:
        """Raise TooManyFailures where more replies of the whole run than LIMIT say nothing."""
        if self._unread > LIMIT * max(self._planned, 1):
            raise TooManyFailures(self._complaint())

    def _complaint(self) -> str:
        done = self._read + self._unread
        return (
            f"method {self._name}: {self._unread:,} of {done:,} rows "
            f"({self._unread / max(done, 1):.0%}) have no usable reply, at most {LIMIT:.0%} may "
            f"(the last: {self._last}); what came is stored: choose a model that follows the "
            "format, or raise its sampling.max_tokens"
        )
