"""How long to wait between the tries of a call that may succeed later.

The schedule is shared by what calls a model server, a reward model's server and a bucket. What
counts as worth another try, and when to give up, differs and stays with each of them: a number of
tries and Retry-After for servers, so many seconds for a bucket that answered before.
"""

import random
from collections.abc import Iterator

FACTOR = 2.0


def backoff(first: float, longest: float) -> Iterator[float]:
    """Yield seconds to wait, without end: doubled each time up to `longest`, with jitter.

    Each is drawn between half and the whole of its step, so that callers that failed together do
    not come back together.

    Args:
        first: seconds of the first step.
        longest: seconds of the longest step.
    """
    step = min(first, longest)
    while True:
        yield step * random.uniform(0.5, 1.0)  # noqa: S311  no secret is drawn
        step = min(step * FACTOR, longest)
