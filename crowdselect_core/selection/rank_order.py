"""The order of rows: score descending, then instruction_id ascending.

Ids decide between equal scores alone, so only the ids of such rows are read.

Array names carry their shape: N rows, E of them that are put in order, G groups.
"""

from collections.abc import Callable

import numpy as np
import polars as pl
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Whole = NDArray[np.signedinteger]
IdsOf = Callable[[Ints], pl.Series]  # the ids of rows, by their numbers


def by_rank(rows_E: Ints, score_N: Floats, ids_of: IdsOf) -> Ints:
    """Return the numbers of rows, the one of the highest score first, ties in id order.

    Args:
        rows_E: the numbers of the rows.
        score_N: the score of every row, finite for these.
        ids_of: gives the ids of rows.
    """
    if not len(rows_E):
        return rows_E
    score_E = score_N[rows_E]
    np.negative(score_E, out=score_E)
    order_E = np.argsort(score_E)
    score_E = score_E[order_E]
    ordered_E = rows_E[order_E]
    del order_E
    same = score_E[1:] == score_E[:-1]
    tied_E = np.append(same, False)
    tied_E[1:] |= same
    (tied,) = np.nonzero(tied_E)
    if len(tied):
        rows_T = ordered_E[tied]
        runs_T = np.cumsum(np.append(True, ~same)[tied])
        ordered_E[tied] = rows_T[_arg_sort(rows_T, ids_of, runs_T)]
    return ordered_E


def best_of_groups(score_E: Floats, group_E: Whole, most: int) -> Ints:
    """Return the places of the rows that can be among the `most` best of their group.

    Those are more than `most` where scores are equal at the cut, since ids decide there. Nothing is
    put in order: of millions of rows, that is most of the work of choosing a few thousand.

    Args:
        score_E: finite.
        group_E: numbers from 0.
        most: rows of a group, at least 1.
    """
    sizes_G = np.bincount(group_E)
    places_E = np.arange(len(group_E))
    if len(sizes_G) > 1:
        places_E = np.argsort(group_E, kind="stable")
        score_E = score_E[places_E]
    kept_E = np.ones(len(group_E), dtype=bool)
    for end, size in zip(np.cumsum(sizes_G).tolist(), sizes_G.tolist(), strict=True):
        if size > most:
            own = slice(end - size, end)
            cut = np.partition(score_E[own], size - most)[size - most]
            kept_E[own] = score_E[own] >= cut
    return places_E[kept_E]


def by_id(rows_E: Ints, ids_of: IdsOf) -> Ints:
    """Return the numbers of rows in id order."""
    return rows_E[_arg_sort(rows_E, ids_of)] if len(rows_E) else rows_E


def _arg_sort(rows_T: Ints, ids_of: IdsOf, runs_T: Ints | None = None) -> Ints:
    """Return the order of rows by run and id."""
    frame = pl.DataFrame({"id": ids_of(rows_T)})
    if runs_T is None:
        return frame["id"].arg_sort().to_numpy().astype(np.int64)
    frame = frame.with_columns(run=pl.Series(runs_T))
    return frame.select(pl.arg_sort_by("run", "id")).to_series().to_numpy().astype(np.int64)
