"""Published numbers beside ours: a reference to read by, not one to pass."""

from collections.abc import Iterator
from typing import Any

from crowdselect_core.experiment.published.tables import METRICS, PublishedTable
from crowdselect_core.experiment.published.tables import published as published_tables
from crowdselect_core.report.experiment_page.data import ExperimentData, Limits
from crowdselect_core.report.experiment_page.references import (
    of_metric,
    several_judges,
    trained_models,
    wanted,
)
from crowdselect_core.report.experiment_page.results import CellResult
from crowdselect_core.report.page.section import Section
from crowdselect_core.report.page.templating import filled


def published(data: ExperimentData, limits: Limits) -> Section | None:
    """Show the published tables that the config names, each row with the cells it is about."""
    tables, known = wanted(data), published_tables()
    if not tables:
        return None
    html = filled(
        "experiment_published.html",
        source=known.source,
        setting=known.setting,
        tables=[_table(data, table) for table in tables],
        several=several_judges(data),
    )
    return Section("published", "Published numbers beside ours", html)


def _table(data: ExperimentData, table: PublishedTable) -> dict[str, Any]:
    """Return a table's rows of the base models that are trained; of all, where none of these is."""
    models = list(dict.fromkeys(model for row in table.rows for model in row.values))
    ours = trained_models(data, table) or models
    return {
        "title": table.title,
        "note": table.note,
        "rows": list(_rows(data, table, ours)),
        "others": [m for m in models if m not in ours],
    }


def _rows(
    data: ExperimentData, table: PublishedTable, models: list[str]
) -> Iterator[dict[str, Any]]:
    mt, arena = (of_metric(data, *names) for names in METRICS)
    facts = {cell: result.facts for cell, result in {**arena, **mt}.items()}
    for model in models:
        for row in (r for r in table.rows if model in r.values):
            ours = [cell for cell, own in facts.items() if row.is_of(own, model)]
            yield {
                "model": model,
                "label": row.label,
                "values": row.values[model],
                "disputed": row.disputed.get(model),
                "ours": [_ours(cell, mt, arena) for cell in ours],
            }


def _ours(cell: str, mt: dict[str, CellResult], arena: dict[str, CellResult]) -> dict[str, Any]:
    return {"cell": cell, "mt": mt.get(cell), "arena": arena.get(cell)}
