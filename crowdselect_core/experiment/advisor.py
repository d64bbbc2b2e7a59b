"""Which part of a crowd is worth its price: a sub-crowd that keeps most of the choice.

On a pilot, the whole crowd's choice is the aim. Models and reward models are taken away one by one
(greedy removal: it finds a cheap sub-crowd, not surely the cheapest). Half of the pilot's rows
decide what is taken away, the other half says how much of the choice is kept and where to stop: a
figure from the rows that were searched would be too good.

Array names carry their shape: N rows of the pilot, B chosen rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from crowdselect_core.errors import ConfigError, SelectionError, shown
from crowdselect_core.experiment.advisor_bootstrap import Share, bootstrapped
from crowdselect_core.experiment.overlaps import shared_rows
from crowdselect_core.experiment.pilot import Pilot, chosen, metrics_of, ranked_by
from crowdselect_core.experiment.sub_crowds import Prices, SubCrowd, cost, smaller
from crowdselect_core.selection.ranked_pool import Places
from crowdselect_core.selection.row_budget import rows_of_budget
from crowdselect_core.tables import Columns
from crowdselect_core.util.hashed_random import uniform

LEAST_CHOSEN = 20  # rows of a half's choice below which a share of it means nothing

ADVICE: Columns = {
    "step": pl.Int64,  # 0: the whole crowd
    "removed": pl.String,  # the model or reward model of this step; null at step 0
    "models": pl.Int64,  # that are left
    "reward_models": pl.String,  # that are left, joined by ","
    "cost": pl.Float64,  # of all rows, in the prices' unit
    "saved": pl.Float64,  # of the whole crowd's cost, 0..1
    "kept": pl.Float64,  # share of the whole crowd's choice, 0..1
    "low": pl.Float64,  # 95 % bootstrap interval of it
    "high": pl.Float64,
    "advised": pl.Boolean,
}


@dataclass(frozen=True)
class Advice:
    """The path of removals and where it should end.

    Attributes:
        table: ADVICE.
        advised: the last sub-crowd of the path up to which every one keeps the share asked for, in
            both halves; the whole crowd where the first removal loses too much.
        lines: the same in plain words.
    """

    table: pl.DataFrame
    advised: SubCrowd
    lines: list[str]


def advise(
    pilot: Pilot, prices: Prices, keep: float, rows: int, *, rounds: int = 200, seed: int = 0
) -> Advice:
    """Find a cheap sub-crowd that keeps a share of the whole crowd's choice.

    Each step takes away the model or reward model that saves the most per row of the choice lost
    (plus one), among those after which the share is kept; once there is none, the one that loses
    least, so that the table shows the whole curve. At least two models and one reward model stay.

    Args:
        pilot: the rows that all have answered.
        prices: of every crowd model and every reward model of the pilot.
        keep: the share of the choice, in (0, 1].
        rows: of the whole data set, that the cost is of.
        rounds: of the bootstrap over rows.
        seed: of the halves and of the bootstrap.

    Raises:
        ConfigError: a share outside of (0, 1], a model without a price.
        SelectionError: the pilot is too small for halves.
    """
    _check_prices(pilot, prices, keep)
    search, measure = halves(pilot, seed)
    path = _path(search, prices, keep)
    shares = bootstrapped(measure, [(s.models, s.reward_models) for s, _, _ in path], rounds, seed)
    end = last([kept for _, _, kept in path], [share.value >= keep for share in shares])
    whole = cost(path[0][0], prices, rows)
    table = pl.DataFrame(
        [
            (
                step,
                removed,
                len(crowd.models),
                ",".join(crowd.reward_models),
                cost(crowd, prices, rows),
                1 - cost(crowd, prices, rows) / whole if whole else 0.0,
                *(share.value, share.low, share.high),
                step == end,
            )
            for step, ((crowd, removed, _), share) in enumerate(zip(path, shares, strict=True))
        ],
        schema=dict(ADVICE),
        orient="row",
    )
    advised = path[end][0]
    before = (path[0][0].models, whole)
    lines = _lines(advised, before, shares[end], keep, prices, rows)
    return Advice(table, advised, lines)


def halves(pilot: Pilot, seed: int) -> tuple[Pilot, Pilot]:
    """Return the two halves of a pilot by a draw per row, each with its share of the budget.

    Raises:
        SelectionError: fewer than 20 rows would be chosen in a half.
    """
    in_first_N = uniform(pilot.ids, seed, "advisor") < 0.5
    share = pilot.budget
    if not isinstance(share, float):
        whole = ranked_by(pilot, metrics_of(pilot, pilot.models, sorted(pilot.scores_by_reward)))
        share = min(1.0, pilot.budget / max(int(whole.eligible_N.sum()), 1))
    made = []
    for mask_N in (in_first_N, ~in_first_N):
        places = np.flatnonzero(mask_N)
        if len(places) * share < LEAST_CHOSEN:
            raise SelectionError(
                f"pilot: {len(pilot.ids)} rows and a budget of {pilot.budget} leave "
                f"{int(len(places) * share)} chosen rows in a half of it, expected "
                f"{LEAST_CHOSEN} or more: give a larger pilot or a larger budget"
            )
        part = pilot.rows(places, float(share))
        ranked = ranked_by(part, metrics_of(part, part.models, sorted(part.scores_by_reward)))
        eligible = max(int(ranked.eligible_N.sum()), 1)
        # whole rows, so that a sub-crowd with fewer eligible rows still chooses as many
        made.append(pilot.rows(places, rows_of_budget(float(share), eligible)))
    return made[0], made[1]


def last(searched: Sequence[bool], measured: Sequence[bool]) -> int:
    """Return the last step before the share is lost in either half."""
    steps = (i for i, both in enumerate(zip(searched, measured, strict=True)) if not all(both))
    return max(next(steps, len(searched)) - 1, 0)


def _path(pilot: Pilot, prices: Prices, keep: float) -> list[tuple[SubCrowd, str | None, bool]]:
    """Return the sub-crowds from the whole to the least, what each lacks of the one before, and
    whether it keeps the share."""
    now = SubCrowd(tuple(pilot.models), tuple(sorted(pilot.scores_by_reward)))
    aim_B = _chosen(pilot, now)
    path: list[tuple[SubCrowd, str | None, bool]] = [(now, None, True)]
    while candidates := smaller(now):
        price = cost(now, prices, 1)
        tried = []
        for removed, crowd in candidates:
            rows_B = _chosen(pilot, crowd)
            lost = len(aim_B) - shared_rows(aim_B, rows_B, len(pilot.ids))
            saving = price - cost(crowd, prices, 1)
            tried.append((lost, saving, removed, crowd))
        allowed = (1 - keep) * len(aim_B) + 1e-9
        fitting = [t for t in tried if t[0] <= allowed]
        if fitting:
            lost, _, removed, now = min(fitting, key=lambda t: (-t[1] / (t[0] + 1), t[2]))
        else:
            lost, _, removed, now = min(tried, key=lambda t: (t[0], -t[1], t[2]))
        path.append((now, removed, lost <= allowed))
    return path


def _chosen(pilot: Pilot, crowd: SubCrowd) -> Places:
    metrics = metrics_of(pilot, crowd.models, crowd.reward_models)
    return chosen(pilot, ranked_by(pilot, metrics))


def _check_prices(pilot: Pilot, prices: Prices, keep: float) -> None:
    if not 0 < keep <= 1:
        raise ConfigError(f"advisor: a share of {keep} to keep, expected one above 0 and up to 1")
    missing = set(pilot.models) - set(prices.answer)
    missing |= set(pilot.scores_by_reward) - set(prices.score)
    if missing:
        raise ConfigError(f"advisor: no price of {shown(sorted(missing))}: give one per row")


def _lines(
    advised: SubCrowd,
    before: tuple[Sequence[str], float],
    share: Share,
    keep: float,
    prices: Prices,
    rows: int,
) -> list[str]:
    models, whole = before
    price = cost(advised, prices, rows)
    if len(advised.models) == len(models) and share.value == 1 and price == whole:
        return [f"No model or reward model can be left out and {keep:.0%} of the choice kept."]
    saved = 1 - price / whole if whole else 0.0
    return [
        f"{_which(advised, models)} with {shown(advised.reward_models)} keep {share.value:.0%} "
        f"[{share.low:.0%}, {share.high:.0%}] of the whole crowd's choice ({keep:.0%} asked for).",
        f"{rows:,} rows cost {_amount(price)} {prices.unit} instead of {_amount(whole)}: "
        f"{_amount(whole - price)} {prices.unit} saved ({saved:.0%}).",
        "Found by greedy removal on one half of the pilot and measured on the other: a cheaper "
        "sub-crowd may exist.",
    ]


def _which(advised: SubCrowd, models: Sequence[str]) -> str:
    """Name the models of a sub-crowd: those that are kept, or the fewer that are left out."""
    out = [name for name in models if name not in advised.models]
    some = f"{len(advised.models)} of {len(models)} models"
    if len(out) < len(advised.models):
        return f"{some} (all but {shown(out)})" if out else some
    return f"{some} ({shown(advised.models)})"


def _amount(number: float) -> str:
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.4g}"
