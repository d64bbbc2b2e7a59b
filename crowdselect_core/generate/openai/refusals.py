"""401, 403 and 404: a wrong key or model, or one row that is moderated or has no route.

One reply does not tell which. So it is set aside until the endpoint answers another call: then the
endpoint takes the key and has the model, and the refusal lies in the row.
"""

from collections.abc import Callable

from crowdselect_core.errors import UserError
from crowdselect_core.generate.openai.trouble import Trouble

FEWEST = 8  # calls that an endpoint refuses before it refuses everybody
STREAK = 50  # refusals without one answer between them, at least: it refuses everybody

Settled = list[tuple[bytes, Trouble]]


class Refusals:
    """The calls that one endpoint refused, until it is known whose fault that is.

    Args:
        width: most requests in flight.
        error: makes the error that ends the run from a refusal.
    """

    def __init__(self, width: int, error: Callable[[Trouble], UserError]) -> None:
        self.first, self._streak = max(FEWEST, width), max(STREAK, 4 * width)
        self._error = error
        self._aside: Settled = []
        self.answers = False  # whether the endpoint has answered any call

    @property
    def waiting(self) -> bool:
        """Whether a refusal is set aside."""
        return bool(self._aside)

    def refused(self, key: bytes, trouble: Trouble, *, first_ended: bool = True) -> Settled:
        """Set a refusal aside; return those that turn out to be no row's fault.

        Args:
            key: of the call.
            trouble: the refusal.
            first_ended: whether the endpoint's first calls have come to an end: quick refusals
                say nothing while the answers to others are on their way.

        Raises:
            UserError: the endpoint refused its first calls, and answered none.
        """
        self._aside.append((key, trouble))
        many = len(self._aside) >= self._streak
        if not self.answers and (many or (first_ended and len(self._aside) >= self.first)):
            raise self._error(trouble)
        if not many:
            return []
        settled, self._aside = self._aside, []
        return settled  # as failures outside the row: asked again by the next run

    def answered(self) -> Settled:
        """Take note of an answer; return the refusals that lie in their rows."""
        self.answers = True
        settled, self._aside = self._aside, []
        return [(key, trouble.of_row()) for key, trouble in settled]

    def ended(self) -> Settled:
        """Return what is left when no call is to come.

        Raises:
            UserError: the endpoint has answered no call at all.
        """
        if self._aside and not self.answers:
            raise self._error(self._aside[-1][1])
        if len(self._aside) < self.first:
            return self.answered() if self._aside else []
        settled, self._aside = self._aside, []  # so many at the end: a key that was taken back
        return settled
