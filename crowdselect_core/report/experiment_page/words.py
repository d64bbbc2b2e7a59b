"""Words and orders that several sections share."""

from collections.abc import Sequence

from crowdselect_core.experiment.metric_words import better
from crowdselect_core.experiment.schemas import CHOICE
from crowdselect_core.report.experiment_page.data import ExperimentData
from crowdselect_core.report.experiment_page.results import CellResult

DIRECTIONS = {
    "higher": "higher is better",
    "lower": "lower is better",
    "unknown": "which direction is better is not known",
}


def counted(n: int, noun: str) -> str:
    """Write a number of things: 1 cell, 2 cells."""
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def budget_text(budget: float | None) -> str:
    """Write a budget: rows, or at most 1 a share of the eligible rows; None: of tokens."""
    if budget is None:
        return "in tokens"
    if budget <= 1:
        return (
            "all eligible rows" if budget == 1 else f"{budget:.4%}".rstrip("0%").rstrip(".") + " %"
        )
    return f"{budget:,.0f} rows"


def budget_title(budget: float | None) -> str:
    """Write a budget as a heading."""
    return f"Budget: {budget_text(budget)}"


def budget_order(budget: float | None) -> tuple[bool, bool, float]:
    """Return by what budgets are sorted: rows, then shares, then tokens."""
    return budget is None, budget is not None and budget <= 1, budget or 0.0


def direction(benchmark: str, metric: str) -> str:
    """Say which direction of a metric is better."""
    return DIRECTIONS[better(benchmark, metric)]


def metrics(data: ExperimentData) -> list[tuple[str, str]]:
    """Return (benchmark, metric) of all that trained models were measured by, the primary first."""
    found = [(r.benchmark, r.metric) for r in data.results if r.benchmark != CHOICE]
    first = data.primary
    if first is not None:
        found.insert(0, (first["benchmark"], first["metric"]))
    return list(dict.fromkeys(found))


def best_first(rows: Sequence[CellResult]) -> list[CellResult]:
    """Sort results of one metric, the best first; in their own order where none is known."""
    way = better(rows[0].benchmark, rows[0].metric) if rows else "unknown"
    if way == "unknown":
        return list(rows)
    sign = -1.0 if way == "higher" else 1.0
    return sorted(rows, key=lambda r: (r.mean is None, sign * (r.mean or 0.0)))


def budgets(rows: Sequence[CellResult]) -> list[tuple[float | None, list[CellResult]]]:
    """Group results by budget; the untuned model and the full pool stand with every budget."""
    own = [r for r in rows if not r.is_reference]
    beside = [r for r in rows if r.is_reference]
    if not own:
        return [(None, beside)] if beside else []
    found = dict.fromkeys(r.budget for r in own)
    order = sorted(found, key=budget_order)
    return [(b, [*(r for r in own if r.budget == b), *beside]) for b in order]


def differing(rows: Sequence[CellResult], names: Sequence[str]) -> list[str]:
    """Return those settings in which the cells differ."""
    return [n for n in names if len({r.facts[n] for r in rows if r.facts[n] is not None}) > 1]
