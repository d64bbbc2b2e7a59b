"""Published numbers, and the results of ours that they can be held against."""

from crowdselect_core.experiment.published.tables import (
    METRICS,
    PublishedTable,
    published,
    same_model,
)
from crowdselect_core.report.experiment_page.data import ExperimentData
from crowdselect_core.report.experiment_page.results import CellResult


def of_metric(data: ExperimentData, benchmark: str, metric: str) -> dict[str, CellResult]:
    """Return the cells' results on a metric; of several judges, that of the first."""
    found: dict[str, CellResult] = {}
    for result in data.results:
        if result.benchmark == benchmark and plain(result.metric) == metric:
            found.setdefault(result.cell, result)
    return found


def several_judges(data: ExperimentData) -> bool:
    """Tell whether one of the two metrics has several judges."""
    names = {r.metric for r in data.results if (r.benchmark, plain(r.metric)) in METRICS}
    return any(name != plain(name) for name in names)


def plain(metric: str) -> str:
    """Return a metric without the judge in brackets after it."""
    return metric.split(" (")[0]


def wanted(data: ExperimentData) -> list[PublishedTable]:
    """Return the published tables that the config names."""
    names, tables = data.told("experiment", "published"), published().tables
    return [tables[n] for n in names if n in tables] if isinstance(names, list) else []


def trained_models(data: ExperimentData, table: PublishedTable) -> list[str]:
    """Return those base models of a published table that the experiment trains."""
    trained = data.experiment["base_model"].drop_nulls().unique().to_list()
    models = dict.fromkeys(model for row in table.rows for model in row.values)
    return [m for m in models if any(same_model(own, m) for own in trained)]
