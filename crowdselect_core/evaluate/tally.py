"""Verdicts added up: every model's result with its interval.

Array names carry their shape: Q questions, M models.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from crowdselect_core.evaluate import bootstrap
from crowdselect_core.evaluate.bootstrap import Floats


class Part(NamedTuple):
    """What one verdict adds to a model's result."""

    model: str
    question: str
    value: float  # a score, or a share of a win (0 to 1)
    weight: float = 1.0  # 0 where the verdict cannot be read
    read: int = 1  # verdicts that it stands for
    unparsed: int = 0  # verdicts that cannot be read


@dataclass(frozen=True)
class Result:
    """One line of a leaderboard; the columns are those of `leaderboard.COLUMNS`."""

    metric: str
    category: str | None  # None: all of them
    model: str
    judge: str | None
    value: float | None
    low: float | None
    high: float | None
    n: int  # verdicts that the value is computed from
    unparsed: int
    cost: float | None = None  # of its answers and verdicts; None: no prices are known


@dataclass(frozen=True)
class Tally:
    """Sums by question and model.

    Args:
        models: in name order.
        questions: in name order.
        total_QM: values times weights.
        weight_QM: weights.
        n: verdicts read, by model.
        unparsed: verdicts that cannot be read, by model.
    """

    models: list[str]
    questions: list[str]
    total_QM: Floats
    weight_QM: Floats
    n: list[int]
    unparsed: list[int]

    @classmethod
    def of(cls, parts: Sequence[Part]) -> "Tally":
        """Add up parts; their order changes nothing."""
        models = sorted({p.model for p in parts})
        questions = sorted({p.question for p in parts})
        column = {name: i for i, name in enumerate(models)}
        line = {name: i for i, name in enumerate(questions)}
        total_QM, weight_QM = (np.zeros((len(questions), len(models))) for _ in range(2))
        n, unparsed = [0] * len(models), [0] * len(models)
        # Sorted, since sums of floats depend on their order.
        for p in sorted(parts):
            at = line[p.question], column[p.model]
            total_QM[at] += p.value * p.weight
            weight_QM[at] += p.weight
            n[at[1]] += p.read
            unparsed[at[1]] += p.unparsed
        return cls(models, questions, total_QM, weight_QM, n, unparsed)

    @property
    def value_M(self) -> Floats:
        """The weighted mean of each model; NaN where no verdict can be read."""
        every_1Q = np.ones((1, len(self.questions)))
        return bootstrap.ratios(self.total_QM, self.weight_QM, every_1Q).reshape(-1)

    def bounds(self, seed: int) -> tuple[Floats, Floats]:
        """Return the ends of the 95 % intervals over questions."""
        counts_RQ = bootstrap.draws(len(self.questions), seed=seed)
        return bootstrap.interval(bootstrap.ratios(self.total_QM, self.weight_QM, counts_RQ))


@dataclass(frozen=True)
class Outcome:
    """What a benchmark comes to."""

    results: list[Result]
    notes: list[str] = field(default_factory=list)  # what a reader must know of them
    snapshots: Mapping[str, str] = field(default_factory=dict)  # judge -> model that answered


def by_benchmark(outcomes: Iterable[tuple[str, Outcome]]) -> dict[str, Outcome]:
    """Return the results and notes by name; MT-Bench may stand twice, graded and in pairs."""
    found: dict[str, Outcome] = {}
    for name, outcome in outcomes:
        before = found.get(name, Outcome([]))
        found[name] = Outcome([*before.results, *outcome.results], [*before.notes, *outcome.notes])
    return found


def as_results(
    tally: Tally,
    metric: str,
    category: str | None,
    judge: str | None,
    values_M: Floats,
    bounds_M: tuple[Floats, Floats] | None,
) -> list[Result]:
    """Return a line for each model; NaN becomes null.

    Args:
        tally: whose models and counts they are.
        metric: its name.
        category: of the questions; None: all.
        judge: who gave the verdicts; None where nobody is named.
        values_M: the results.
        bounds_M: the ends of their intervals, where there are any.
    """
    none_M = np.full(len(values_M), np.nan)
    low_M, high_M = bounds_M or (none_M, none_M)
    return [
        Result(
            metric=metric,
            category=category,
            model=model,
            judge=judge,
            value=_null(values_M[i]),
            low=_null(low_M[i]),
            high=_null(high_M[i]),
            n=tally.n[i],
            unparsed=tally.unparsed[i],
        )
        for i, model in enumerate(tally.models)
    ]


def by_category(
    parts: Iterable[Part], category_of: dict[str, str]
) -> list[tuple[str | None, list[Part]]]:
    """Group parts by the category of their question; all of them come first, under None."""
    every = list(parts)
    groups: dict[str, list[Part]] = {}
    for part in every:
        if part.question in category_of:
            groups.setdefault(category_of[part.question], []).append(part)
    return [(None, every), *sorted(groups.items())]


def _null(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
