"""The weights of the metrics: what they are unless given, and what they may be.

Source: METHOD, "Integration"; arXiv 2503.01836, section 3. Headroom is ours and has no weight
unless given one.
"""

import math
from collections.abc import Iterable, Sequence
from numbers import Real

from crowdselect_core.errors import ConfigError

MetricWeights = tuple[float, float, float, float]  # difficulty, separability, stability, headroom

WEIGHTS: MetricWeights = (1.0, 1.0, 2.0, 0.0)  # the paper's main experiments


def check_weights(weights: Sequence[float]) -> MetricWeights:
    """Return the weights of difficulty, separability, stability and headroom as floats.

    Three numbers give headroom no weight.

    Only their ratios matter to the order, but scores are rounded to 12 decimals: the largest
    weight must be between 1e-6 and 1e6, or rounding would erase the order.

    Raises:
        ConfigError: not three or four finite numbers, all zero, or out of that scale.
    """
    given = list(weights) if isinstance(weights, Iterable) and not isinstance(weights, str) else []
    numbers = [float(w) for w in given if isinstance(w, Real)]
    if (
        len(given) not in (3, 4)
        or len(numbers) != len(given)
        or not all(map(math.isfinite, numbers))
    ):
        raise ConfigError(
            f"weights: found {weights!r}, expected three finite numbers for difficulty, "
            "separability and stability, e.g. 1,1,2, or four, the last one for headroom"
        )
    largest = max(map(abs, numbers))
    if largest == 0:
        raise ConfigError(
            f"weights: expected finite numbers that are not all 0, found {numbers}: give one of "
            "them a weight, or nothing ranks the rows"
        )
    if not 1e-6 <= largest <= 1e6:
        raise ConfigError(
            f"weights: the largest of {numbers} is {largest:g}, expected 1e-6 to 1e6: only their "
            "ratios matter, so scale all of them"
        )
    return numbers[0], numbers[1], numbers[2], numbers[3] if len(numbers) == 4 else 0.0
