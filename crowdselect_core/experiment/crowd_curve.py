"""Whether a larger crowd than the pilot's would choose otherwise: an extrapolation, and said so.

The choice of a crowd is compared with that of another crowd of its size, of other families: two
halves of the families share nothing but the rows. What they agree on beyond chance is what crowds
of that size find in common. For models that are alike it would grow as the reliability of a longer
test does (Spearman and Brown): agreement / (1 - agreement) is proportional to the number of models.
Models are not alike, so the odds are fitted as a power of the number, from 0 (more models do not
agree more) to 1, over the sizes that the pilot has two crowds of; the curve is read off at the
pilot's own size and at twice it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl

from crowdselect_core.experiment.choices import Choice
from crowdselect_core.experiment.overlaps import chance, shared_rows, strata_of
from crowdselect_core.experiment.pilot import Pilot, chosen, metrics_of, ranked_by
from crowdselect_core.tables import Columns

DRAWS = 10  # pairs of crowds of each number of families
STEADY = 2.0  # times that the odds of a size may differ from the curve
NEARLY_ALL = 0.999  # agreement that counts as this in the fit: 1 has no odds
SMALL = 0.02  # share of the choice below which doubling the crowd adds nothing to speak of

CURVE: Columns = {
    "families": pl.Int64,  # in each of the two crowds; null where extrapolated
    "models": pl.Float64,  # in each, mean over the pairs
    "pairs": pl.Int64,  # of crowds; 0 where extrapolated
    "shared": pl.Float64,  # share of the choice that both have, 0..1, mean over the pairs
    "low": pl.Float64,  # least and most over the pairs; null where extrapolated
    "high": pl.Float64,
    "expected": pl.Float64,  # the share that two random choices have
    "extrapolated": pl.Boolean,
}


@dataclass(frozen=True)
class CrowdCurve:
    """The curve, and what it says in plain words."""

    table: pl.DataFrame
    lines: list[str]


class _Point(NamedTuple):
    families: int
    models: float  # of one crowd of the pair
    shared: float
    expected: float


def crowd_curve(pilot: Pilot, *, draws: int = DRAWS, seed: int = 0) -> CrowdCurve:
    """Tell how alike the choices of two crowds of one size are, and extrapolate to larger ones.

    Families stay whole, since stability compares models of a family. A crowd that leaves fewer rows
    eligible than the budget is left out, with the pair.

    Output columns: CURVE.

    Args:
        pilot: of four families or more; of fewer the answer is that it cannot be told.
        draws: pairs of crowds of each number of families.
        seed: of the families drawn.
    """
    points = _points(pilot, draws, seed)
    if not points:
        line = (
            "Whether a larger crowd is worth its price cannot be told: that takes a pilot of four "
            "families or more, of which any two halves leave enough rows eligible."
        )
        return CrowdCurve(pl.DataFrame(schema=dict(CURVE)), [line])
    measured = [_measured([p for p in points if p.families == f]) for f in _sizes(points)]
    fit = _fitted(points)
    own = len(pilot.models)
    expected = float(np.mean([p.expected for p in points]))
    further = [_extrapolated(n, fit, expected) for n in (own, 2 * own)]
    table = pl.DataFrame(measured + further, schema=dict(CURVE), orient="row")
    return CrowdCurve(table, _lines(table, own, fit.steady))


def agreement(shared: float, expected: float) -> float:
    """Return the agreement beyond chance: (shared - expected) / (1 - expected), at most 1."""
    return (shared - expected) / (1 - expected) if expected < 1 else 1.0


def _points(pilot: Pilot, draws: int, seed: int) -> list[_Point]:
    families: dict[str, list[str]] = {}
    for model in pilot.crowd:
        if model.role == "crowd":
            families.setdefault(model.family, []).append(model.name)
    names = sorted(families)
    rng = np.random.default_rng(seed)
    found = []
    for size in range(1, len(names) // 2 + 1) if len(names) >= 4 else ():
        for _ in range(draws):
            order = [names[i] for i in rng.permutation(len(names))]
            crowds = [order[:size], order[size : 2 * size]]
            models = [[m for f in crowd for m in families[f]] for crowd in crowds]
            if (point := _compared(pilot, models, size)) is not None:
                found.append(point)
    return found


def _compared(pilot: Pilot, crowds: Sequence[Sequence[str]], size: int) -> _Point | None:
    """Compare the choices of two crowds; None where one has too few eligible rows."""
    rewards = sorted(pilot.scores_by_reward)
    choices = []
    for models in crowds:
        ranked = ranked_by(pilot, metrics_of(pilot, models, rewards))
        rows_B = chosen(pilot, ranked)
        if not len(rows_B) or (not isinstance(pilot.budget, float) and len(rows_B) < pilot.budget):
            return None
        choices.append(Choice("", 0, pilot.budget, rows_B, ranked))
    a, b = choices
    least = min(len(a.rows_B), len(b.rows_B))
    shared = shared_rows(a.rows_B, b.rows_B, len(pilot.ids)) / least
    by_chance = chance(strata_of(a, b))[0] / least
    return _Point(size, sum(map(len, crowds)) / 2, shared, by_chance)


def _sizes(points: Sequence[_Point]) -> list[int]:
    return sorted({p.families for p in points})


class _Fit(NamedTuple):
    """odds = factor * models ** power; steady: whether all sizes lie near that curve."""

    factor: float
    power: float
    steady: bool


def _fitted(points: Sequence[_Point]) -> _Fit:
    """Fit the odds of the mean agreement of each size, those with none beyond chance left out."""
    by_size = [[p for p in points if p.families == size] for size in _sizes(points)]
    models = np.array([np.mean([p.models for p in group]) for group in by_size])
    known = np.array([np.mean([agreement(p.shared, p.expected) for p in g]) for g in by_size])
    known = np.clip(known, 0.0, NEARLY_ALL)
    some = known > 0
    if not some.any():
        return _Fit(0.0, 0.0, False)
    x, y = np.log(models[some]), np.log(known[some] / (1 - known[some]))
    power = 1.0
    if len(x) > 1:
        power = float(np.clip(np.polyfit(x, y, 1)[0], 0.0, 1.0))
    level = float(np.mean(y - power * x))
    off = np.abs(y - level - power * x).max()
    steady = len(x) > 1 and bool(some.all()) and off <= math.log(STEADY)
    return _Fit(math.exp(level), power, steady)


def _measured(points: Sequence[_Point]) -> tuple[object, ...]:
    shared = [p.shared for p in points]
    return (
        points[0].families,
        float(np.mean([p.models for p in points])),
        len(points),
        float(np.mean(shared)),
        min(shared),
        max(shared),
        float(np.mean([p.expected for p in points])),
        False,
    )


def _extrapolated(models: int, fit: _Fit, expected: float) -> tuple[object, ...]:
    odds = fit.factor * models**fit.power
    shared = expected + odds / (1 + odds) * (1 - expected)
    return (None, float(models), 0, shared, None, None, expected, True)


def _lines(table: pl.DataFrame, own: int, steady: bool) -> list[str]:
    largest = table.filter(~pl.col("extrapolated")).row(-1, named=True)
    now, twice = table.filter("extrapolated")["shared"].to_list()
    gain = twice - now
    lines = [
        f"Two crowds of {largest['models']:.0f} models of different families share "
        f"{largest['shared']:.0%} of the choice (chance: {largest['expected']:.0%}).",
        f"Extrapolated: two crowds of {own} models, as large as this one, would share {now:.0%}; "
        f"two of {2 * own} models would share {twice:.0%}. Twice the crowd costs twice as much, "
        f"and {gain:.0%} more of the choice would not depend on which models are in it"
        + (
            ": not worth paying for."
            if gain < SMALL
            else "; whether that pays, only training can tell."
        ),
        "This is an extrapolation from smaller crowds of the same models; it supposes that further "
        "models are like these.",
    ]
    if not steady:
        lines.append(
            "Do not rely on it: the smaller and the larger crowds of the pilot do not lie on one "
            "curve, or it has crowds of a single size alone."
        )
    return lines
