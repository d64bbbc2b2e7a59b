"""What a gain costs: the difference to the baseline against the tokens that were trained on."""

from collections.abc import Iterator
from typing import Any

from crowdselect_core.experiment.metric_words import better, unit
from crowdselect_core.experiment.verdict import numbers
from crowdselect_core.report.experiment_page.data import ExperimentData, Limits
from crowdselect_core.report.experiment_page.drawing import Point, plot
from crowdselect_core.report.experiment_page.results import CellResult
from crowdselect_core.report.experiment_page.words import budget_text
from crowdselect_core.report.page.section import Section
from crowdselect_core.report.page.templating import filled

SAME = ("method", "direction", "clusters", "response", "weights", "reward_models", "crowd")
COSTS = {"cost_tokens": "tokens trained on", "answer_tokens": "tokens of the kept answers"}


def gain(data: ExperimentData, limits: Limits) -> Section | None:
    """Show every cell's gain over the baseline against its cost; None without a primary one.

    The baseline is the primary comparison's, with every budget and base model. A gain is a
    difference turned so that more is better.
    """
    primary = data.primary
    if primary is None:
        return None
    names = (primary["benchmark"], primary["metric"])
    own = {r.cell: r for r in data.results if (r.benchmark, r.metric) == names}
    every = list(_gains(data, own, primary))
    rows = every[: limits.rows]
    cost = _cost([row["result"] for row in rows])
    if cost is None:
        return None
    points = [
        Point(i, row["result"].costs[cost], row["gain"], "own", row["low"], row["high"])
        for i, row in enumerate(rows, 1)
        if row["result"].costs[cost] is not None
    ]
    way = better(*names)
    html = filled(
        "experiment_gain.html",
        plot=plot(points, COSTS[cost], f"gain in {unit(*names)}", lines=[0.0]),
        rows=rows,
        baseline=primary["b"],
        unit=unit(*names),
        way=way,
        left_out=len(every) - len(rows),
    )
    return Section("gain", "What a gain costs", html)


def _gains(
    data: ExperimentData, own: dict[str, CellResult], primary: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Yield the comparisons that have the baseline on a side, turned: gain, low, high."""
    names = (primary["benchmark"], primary["metric"])
    base = own.get(primary["b"])
    if base is None:
        return
    settings = {name: base.facts[name] for name in SAME}
    baselines = {c for c, r in own.items() if all(r.facts[n] == v for n, v in settings.items())}
    turn = -1.0 if better(*names) == "lower" else 1.0
    for row in data.comparisons.iter_rows(named=True):
        if (row["benchmark"], row["metric"]) != names:
            continue
        if row["b"] in baselines and row["a"] not in baselines:
            cell, sign = row["a"], turn
        elif row["a"] in baselines and row["b"] not in baselines:
            cell, sign = row["b"], -turn
        else:
            continue
        if cell not in own:
            continue
        low, high = (None if v is None else sign * v for v in (row["low"], row["high"]))
        turned = {"difference": sign * row["difference"], "low": low, "high": high}
        if sign < 0:
            turned["low"], turned["high"] = high, low
        yield {
            "cell": cell, "result": own[cell], "gain": turned["difference"], "low": turned["low"],
            "high": turned["high"], "numbers": numbers(turned), "primary": row["primary"],
            "budget": budget_text(row["budget"]),
        }  # fmt: skip


def _cost(found: list[CellResult]) -> str | None:
    """Return the first cost that any of them has; None where none has one."""
    for cost in COSTS:
        if any(r.costs[cost] for r in found):
            return cost
    return None
