"""The leaderboard: what every cell came to on every metric, with what it cost."""

from collections.abc import Iterator, Sequence
from typing import Any

from crowdselect_core.experiment.metric_words import unit
from crowdselect_core.report.experiment_page.data import ExperimentData, Limits
from crowdselect_core.report.experiment_page.drawing import BAR, interval, scale
from crowdselect_core.report.experiment_page.results import CellResult
from crowdselect_core.report.experiment_page.words import (
    best_first,
    budget_title,
    budgets,
    differing,
    direction,
    metrics,
)
from crowdselect_core.report.page.section import Section
from crowdselect_core.report.page.templating import filled

SETTINGS = ("base_model", "loss", "peft")
OVER = {"replicates": "", "items": "over items", "nothing": ""}


def leaderboard(data: ExperimentData, limits: Limits) -> Section | None:
    """Show the cells by benchmark, metric and budget; None where nothing was trained."""
    found = [_metric(data, limits, *names) for names in metrics(data)]
    if not found:
        return None
    html = filled("experiment_leaderboard.html", metrics=found, width=BAR)
    return Section("leaderboard", "Leaderboard", html)


def _metric(data: ExperimentData, limits: Limits, benchmark: str, metric: str) -> dict[str, Any]:
    own = [r for r in data.results if (r.benchmark, r.metric) == (benchmark, metric)]
    return {
        "benchmark": benchmark,
        "metric": metric,
        "direction": direction(benchmark, metric),
        "unit": unit(benchmark, metric).replace("percentage points of win rate", "win rate in %"),
        "tables": list(_tables(own, limits)),
    }


def _tables(own: Sequence[CellResult], limits: Limits) -> Iterator[dict[str, Any]]:
    settings = differing(own, SETTINGS)
    ends = [v for r in own for v in (r.mean, r.low, r.high)]
    on = scale(ends, 4, BAR - 4)
    for budget, rows in budgets(own):
        shown = best_first(rows)[: limits.rows]
        yield {
            "budget": budget_title(budget),
            "settings": [name.replace("_", " ") for name in settings],
            "rows": [
                {
                    "result": r,
                    "settings": [r.facts[name] for name in settings],
                    "figure": interval(on, r.mean, r.low, r.high),
                    "over": OVER[r.over],
                }
                for r in shown
            ],
            "left_out": len(rows) - len(shown),
        }
