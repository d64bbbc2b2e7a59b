"""The comparisons: every difference with its interval, as a forest plot and in numbers."""

from collections.abc import Iterator
from typing import Any

from crowdselect_core.experiment.metric_words import better, unit
from crowdselect_core.experiment.verdict import finding, numbers, p_text, warning
from crowdselect_core.report.experiment_page.data import ExperimentData, Limits
from crowdselect_core.report.experiment_page.drawing import BAR, interval, scale
from crowdselect_core.report.experiment_page.words import budget_text, counted, direction
from crowdselect_core.report.page.section import Section
from crowdselect_core.report.page.templating import filled

SETTINGS = ("budget", "base_model", "loss")


def comparisons(data: ExperimentData, limits: Limits) -> Section | None:
    """Show all comparisons, a table for each metric; None where nothing was compared."""
    table = data.comparisons
    if table.is_empty():
        return None
    split = data.heldout_share is not None
    warnings = (warning(n, split=split) for n in table["replicates"].unique().sort())
    html = filled(
        "experiment_comparisons.html",
        groups=list(_groups(data, limits)),
        width=BAR,
        exploratory=counted(int((~table["primary"]).sum()), "exploratory comparison"),
        warnings=list(dict.fromkeys(w for w in warnings if w)),
        split=split,
        subsampled=data.told("experiment", "replicate", "subsample") is not None,
    )
    return Section("comparisons", "Comparisons", html)


def _groups(data: ExperimentData, limits: Limits) -> Iterator[dict[str, Any]]:
    groups = data.comparisons.group_by(["benchmark", "metric"], maintain_order=True)
    for (benchmark, metric), own in groups:
        shown = own.head(limits.rows)
        settings = [n for n in SETTINGS if own[n].n_unique() > 1]
        ends = [v for n in ("difference", "low", "high") for v in shown[n].to_list()]
        on = scale([0.0, *ends], 4, BAR - 4)
        rows = [_row(row, settings) for row in shown.iter_rows(named=True)]
        for row in rows:
            row["figure"] = interval(on, row["difference"], row["low"], row["high"])
        yield {
            "benchmark": benchmark,
            "metric": metric,
            "direction": direction(str(benchmark), str(metric)),
            "unit": unit(str(benchmark), str(metric)),
            "zero": on.at(0.0),
            "settings": [n.replace("_", " ") for n in settings],
            "rows": rows,
            "count": counted(own.height, "comparison"),
            "left_out": own.height - shown.height,
        }


def _row(row: dict[str, Any], settings: list[str]) -> dict[str, Any]:
    way = better(row["benchmark"], row["metric"])
    shown = {"budget": budget_text(row["budget"]), "base_model": row["base_model"],
             "loss": row["loss"]}  # fmt: skip
    return row | {
        "settings": [shown[name] for name in settings],
        "numbers": numbers(row),
        "p_text": p_text(row["p"]),
        "p_holm_text": None if row["primary"] else p_text(row["p_holm"]),
        "finding": finding(row, way).removeprefix(f"{row['a']} is "),
    }
