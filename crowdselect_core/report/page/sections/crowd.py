"""The crowd: every model's mean score, who beats whom, and whose answers were kept."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crowdselect_core.metrics.combine import combine
from crowdselect_core.report.page.section import PageData, Section
from crowdselect_core.report.page.templating import filled
from crowdselect_core.stages.select.metrics import score_arrays, stored_moments

Floats = NDArray[np.float64]

Z = 1.959963984540054  # of a 95 % interval
WIDTH = 220  # of a figure, in its own units


@dataclass
class Tally:
    """Sums over the rows of c[i,m], and of who beats whom; M crowd models."""

    n_M: Floats
    sum_M: Floats
    squares_M: Floats
    wins_MM: Floats  # row beats column, a tie counts half
    games_MM: Floats

    @classmethod
    def empty(cls, models: int) -> "Tally":
        """Return the tally of no rows."""
        of_models, of_pairs = np.zeros(models), np.zeros((models, models))
        return cls(of_models, of_models.copy(), of_models.copy(), of_pairs, of_pairs.copy())

    def add(self, c_NM: Floats) -> None:
        """Add rows; NaN is a missing score."""
        present_NM = np.isfinite(c_NM)
        filled_NM = np.where(present_NM, c_NM, 0.0)
        self.n_M += present_NM.sum(axis=0)
        self.sum_M += filled_NM.sum(axis=0)
        self.squares_M += (filled_NM * filled_NM).sum(axis=0)
        for m in range(c_NM.shape[1]):
            own_N1 = c_NM[:, m : m + 1]
            self.games_MM[m] += (present_NM[:, m : m + 1] & present_NM).sum(axis=0)
            self.wins_MM[m] += (own_N1 > c_NM).sum(axis=0) + (own_N1 == c_NM).sum(axis=0) / 2

    def mean(self, m: int) -> tuple[float | None, float | None, float | None]:
        """Return a model's mean score and its 95 % interval, mean +- z * s / sqrt(n).

        s is the sample's standard deviation; with fewer than two scores there is no interval.
        """
        n = self.n_M[m]
        if n == 0:
            return None, None, None
        mean = float(self.sum_M[m] / n)
        if n < 2:
            return mean, None, None
        variance = max(float(self.squares_M[m] - n * mean * mean), 0.0) / (n - 1)
        half = Z * math.sqrt(variance / n)
        return mean, mean - half, mean + half

    def win_rate(self, a: int, b: int) -> float | None:
        """Return the share of the rows in which a beats b, ties half; None without any."""
        games = self.games_MM[a, b]
        return float(self.wins_MM[a, b] / games) if games else None


def crowd(data: PageData, room: int) -> Section:
    """Show every crowd model: family, size, mean score, kept answers, and the win matrix."""
    models = sorted(data.config.models, key=lambda m: (m.family, m.size, m.name))
    tally = tallied(data)
    place = {m.name: i for i, m in enumerate(data.config.models)}
    kept = dict(data.chosen["response_model"].drop_nulls().value_counts().iter_rows())
    rows = [_row(m, tally, place[m.name], kept, data.chosen.height) for m in models]
    bounds = [b for r in rows for b in (r["low"], r["high"], r["mean"]) if b is not None]
    low, high = (min(bounds), max(bounds)) if bounds else (0.0, 1.0)
    for row in rows:
        row["figure"] = _figure(row, low, high)
    matrix = [
        (a.name, [None if a is b else tally.win_rate(place[a.name], place[b.name]) for b in models])
        for a in models
    ]
    unit = "in the reward model's own unit" if len(data.config.reward_names) == 1 else "in z-scores"
    html = filled(
        "crowd.html",
        rows=rows,
        matrix=matrix,
        unit=unit,
        kept=data.has_answers,
        width=WIDTH,
        instructions=data.by_id.height,
    )
    return Section("crowd", "The crowd", html)


def tallied(data: PageData) -> Tally:
    """Sum the combined scores of the crowd over all rows, a shard at a time."""
    config, inputs = data.config, data.inputs
    fitted = stored_moments(inputs.metrics.open(data.store))
    tally = Tally.empty(len(config.models))
    for frame in inputs.scores.open(data.store).frames():
        tally.add(combine(score_arrays(frame, config.models, config.reward_names), fitted))
    return tally


def _row(model: Any, tally: Tally, place: int, kept: dict[str, int], chosen: int) -> dict[str, Any]:
    mean, low, high = tally.mean(place)
    count = kept.get(model.name, 0)
    return {
        "name": model.name, "family": model.family, "size": f"{model.size:g}",
        "scores": int(tally.n_M[place]), "mean": mean, "low": low, "high": high,
        "kept": count, "share": count / max(chosen, 1),
    }  # fmt: skip


def _figure(row: dict[str, Any], low: float, high: float) -> dict[str, float] | None:
    """Return where the point and the ends of the interval lie in the figure."""
    if row["mean"] is None:
        return None
    span = (high - low) or 1.0

    def at(value: float | None) -> float:
        return round(5 + ((row["mean"] if value is None else value) - low) / span * (WIDTH - 10), 1)

    return {"mean": at(row["mean"]), "low": at(row["low"]), "high": at(row["high"])}
