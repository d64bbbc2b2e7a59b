"""RDS+: rows that resemble examples of the target task, each target taking its turn.

Source: Ivison et al., arXiv 2503.01807. Array names carry their shape: E rows in id order,
T targets.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def round_robin(similarities_ET: Floats, picks: int) -> Floats:
    """Return scores by which rows stand in the order of the picks, the others behind them.

    Target after target takes the row that is most similar to it among those not yet taken, the
    earlier one of two that are equally similar, until `picks` rows are taken. The row that is taken
    n-th scores picks - n + 1 (so at least 1); a row that is not taken scores its greatest
    similarity - 1 (so at most 0).

    Args:
        similarities_ET: cosines.
        picks: how many rows are taken, at most all.

    Returns:
        scores_E.
    """
    rows, targets = similarities_ET.shape
    picks = min(picks, rows)
    scores_E: NDArray[np.float64] = similarities_ET.max(axis=1, initial=-1.0) - 1.0
    if not targets:
        return scores_E
    taken_E = np.zeros(rows, dtype=bool)
    orders = [np.argsort(-similarities_ET[:, t], kind="stable")[:picks] for t in range(targets)]
    next_T = [0] * targets
    for number in range(picks):
        target = number % targets
        order = orders[target]
        while taken_E[order[next_T[target]]]:
            next_T[target] += 1
        row = order[next_T[target]]
        taken_E[row] = True
        scores_E[row] = picks - number
    return scores_E
