"""The choice on bare columns: which rows are chosen, by their numbers.

`quota.select` does the same on a table; here rows are known by their numbers, and ids are read only
where scores are equal.

Array names carry their shape: N rows, E eligible rows in rank order (score descending,
instruction_id ascending), B chosen rows, best first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.errors import DatasetError, SelectionError
from crowdselect_core.selection.quota_allocation import (
    ClusterLayout,
    check_quota,
    choose,
    lay_out,
    numbered,
)
from crowdselect_core.selection.rank_order import IdsOf, best_of_groups, by_rank
from crowdselect_core.selection.row_budget import rows_of_budget, short_of
from crowdselect_core.util.notes import Warn, log_warning

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Whole = NDArray[np.signedinteger]

NO_CLUSTER = int(np.iinfo(np.int32).min)  # of a row that has none


def by_number(rows_K: Ints) -> pl.Series:
    """Return what decides between equal scores where rows are numbered in id order."""
    return pl.Series(rows_K)


@dataclass(frozen=True)
class Candidates:
    """The rows that are chosen from.

    Args:
        score_N: what rows are ranked by, higher first; it counts on eligible rows alone.
        eligible_N: which rows may be chosen.
        cluster_N: the cluster of every row, NO_CLUSTER where it has none; None: no clusters.
        ids_of: gives the ids of rows; without it, rows are numbered in id order.
        ineligible: how many rows are not eligible by reason, for messages.
    """

    score_N: Floats
    eligible_N: Bools
    cluster_N: Whole | None = None
    ids_of: IdsOf = by_number
    ineligible: Mapping[str, int] = field(default_factory=dict)

    @property
    def counts(self) -> str:
        """How many rows are eligible, and why the others are not."""
        told = ", ".join(f"{reason} {n}" for reason, n in self.ineligible.items())
        counts = f"{int(self.eligible_N.sum())} of {len(self.eligible_N)} rows are eligible"
        return counts + (f" (not eligible: {told})" if told else "")

    def eligible(self) -> tuple[Ints, Whole]:
        """Return the eligible rows, and the number of the cluster of each, from 0.

        Raises:
            SelectionError: no row is eligible, or an eligible one has no cluster.
            DatasetError: an eligible row has no finite score.
        """
        (rows_E,) = np.nonzero(self.eligible_N)
        if not len(rows_E):
            raise SelectionError(f"nothing to select: {self.counts}")
        if unscored := len(rows_E) - int(np.isfinite(self.score_N[rows_E]).sum()):
            raise DatasetError(f"ranking: {unscored} eligible rows have no finite score: rank them")
        cluster_E = self._clusters(rows_E)
        if homeless := int((cluster_E == NO_CLUSTER).sum()):
            raise SelectionError(
                f"clusters: {homeless} eligible rows have no cluster: cluster every row of "
                "the ranking"
            )
        return rows_E, numbered(cluster_E)

    def laid_out(
        self, rows_E: Ints, group_E: Whole, most: int | None = None
    ) -> tuple[Ints, ClusterLayout]:
        """Return the eligible rows in rank order, and how they lie in the clusters.

        Args:
            rows_E: what `eligible` returned.
            group_E: the same.
            most: the largest budget; rows that it cannot reach are left out. None: no such limit.
        """
        sizes_C = np.bincount(group_E)
        if most is not None and most < len(rows_E) // 2:
            # one more than the budget: what is left over goes by the next row of each cluster
            rows_E = rows_E[best_of_groups(self.score_N[rows_E], group_E, most + 1)]
        order_E = by_rank(rows_E, self.score_N, self.ids_of)
        return order_E, lay_out(self._clusters(order_E))._replace(sizes_C=sizes_C)

    def _clusters(self, rows_E: Ints) -> Whole:
        """Return the clusters of rows; without clusters all are in one."""
        if self.cluster_N is None:
            return np.zeros(len(rows_E), dtype=np.int16)
        return self.cluster_N[rows_E]


def choose_rows(
    candidates: Candidates,
    budget: int | float,
    quota: str = "equal",
    allow_short: bool = False,
    warn: Warn = log_warning,
) -> Ints:
    """Return the numbers of the chosen rows, best first; see `quota.select`, also for the errors.

    Args:
        candidates: what is chosen from.
        budget: rows, or a share of the eligible rows.
        quota: equal, proportional or reference.
        allow_short: where fewer rows are eligible than asked for, take them all with a warning.
        warn: called with what the user must know.
    """
    return choose_by_budgets(candidates, [budget], quota, allow_short, warn)[0]


def choose_by_budgets(
    candidates: Candidates,
    budgets: Sequence[int | float],
    quota: str = "equal",
    allow_short: bool = False,
    warn: Warn = log_warning,
) -> list[Ints]:
    """Return what `choose_rows` does for each budget; the rows are put in order once."""
    check_quota(quota)
    rows_E, group_E = candidates.eligible()
    asked = [_wanted(candidates, one, len(rows_E), allow_short, warn) for one in budgets]
    order_E, layout = candidates.laid_out(rows_E, group_E, max(asked, default=0))
    chosen = []
    for wanted in asked:
        places_B = choose(layout, wanted, quota)
        if len(places_B) < wanted:
            warn(
                f"quota reference: {len(places_B)} rows instead of {wanted}, some clusters are too "
                f"small ({candidates.counts})"
            )
        chosen.append(order_E[places_B])
    return chosen


def _wanted(
    candidates: Candidates, budget: int | float, eligible: int, allow_short: bool, warn: Warn
) -> int:
    """Return the rows that a budget asks for, all eligible ones where these are fewer."""
    wanted = rows_of_budget(budget, eligible)
    if wanted <= eligible:
        return wanted
    shortage = f"the budget is {wanted} rows, but only {candidates.counts}"
    if not allow_short:
        raise short_of(shortage, eligible)
    warn(f"{shortage}: taking all of them")
    return eligible
