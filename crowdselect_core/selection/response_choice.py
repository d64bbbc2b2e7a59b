"""Which answer of the crowd is kept with a row.

Array shapes: N rows, M crowd models in name order. `order_NM` lists a row's candidates by
preference as model indices, -1 past the last one.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from crowdselect_core.config.response_mode import ResponseMode
from crowdselect_core.util.hashed_random import uniform

TOP = 5


Floats = NDArray[np.float64]


Ints = NDArray[np.int64]


Texts = Callable[[Mapping[int, Ints]], Mapping[tuple[int, int], str | None]]


def preference(
    mode: ResponseMode, c_NM: Floats, models: Sequence[str], ids: Sequence[str], seed: int
) -> Ints:
    """Order each row's candidates: by score descending and model name, or by a draw per answer.

    Args:
        mode: which models may be kept, and whether the score counts.
        c_NM: the combined score of each answer (of several samples the shown one's), NaN where
            missing.
        models: the crowd's names, in name order.
        ids: the rows' instruction ids; draws belong to them and not to places.
        seed: the run's seed.

    Returns:
        order_NM.
    """
    allowed_M = np.isin(np.array(models, dtype=object), mode.models)
    if mode.needs_score:
        possible_NM = ~np.isnan(c_NM) & allowed_M
        rank_NM = np.where(possible_NM, -c_NM, np.inf)
    else:
        possible_NM = np.broadcast_to(allowed_M, c_NM.shape)
        rank_NM = np.where(possible_NM, _draws(ids, models, seed), np.inf)
    order_NM = np.argsort(rank_NM, axis=1, kind="stable").astype(np.int64)
    past_NM = np.arange(len(models)) >= possible_NM.sum(axis=1)[:, None]
    order_NM[past_NM] = -1
    return order_NM


def keep(mode: ResponseMode, order_NM: Ints, texts: Texts, ids: Sequence[str], seed: int) -> Ints:
    """Return the index of the kept model of every row, -1 where no candidate is complete.

    `random-of-top-5` draws among the five best complete answers.
    """
    if mode.kind != "random-of-top-5":
        return first_complete(order_NM, texts, 1)[:, 0]
    best_NK = first_complete(order_NM, texts, TOP)
    found_N = (best_NK >= 0).sum(axis=1)
    draws_N = uniform(ids, seed, "response-of-top")
    places_N = np.minimum((draws_N * found_N).astype(np.int64), np.maximum(found_N - 1, 0))
    kept_N: Ints = best_NK[np.arange(len(best_NK)), places_N]
    return kept_N


def first_complete(order_NM: Ints, texts: Texts, wanted: int) -> Ints:
    """Return each row's first `wanted` candidates whose answers are complete.

    Args:
        order_NM: candidates by preference.
        texts: given rows per model, the text of every complete answer among them; it is called
            in rounds, and only for the answers that are the next to be tried.
        wanted: how many are looked for.

    Returns:
        found_NK: model indices, -1 past the last one.
    """
    rows, width = order_NM.shape
    found_NK = np.full((rows, wanted), -1, dtype=np.int64)
    n_found = np.zeros(rows, dtype=np.int64)
    for place in range(width):
        open_N = np.flatnonzero((n_found < wanted) & (order_NM[:, place] >= 0))
        if not len(open_N):
            break
        tried_N = order_NM[open_N, place]
        asked = {int(m): open_N[tried_N == m] for m in np.unique(tried_N)}
        complete = texts(asked)
        for row, model in zip(open_N.tolist(), tried_N.tolist(), strict=True):
            if (row, model) in complete:
                found_NK[row, n_found[row]] = model
                n_found[row] += 1
    return found_NK


def _draws(ids: Sequence[str], models: Sequence[str], seed: int) -> Floats:
    """Return one draw per answer, the same wherever the row stands."""
    by_model = [uniform(ids, seed, f"response\n{model}") for model in models]
    return np.stack(by_model, axis=1)
