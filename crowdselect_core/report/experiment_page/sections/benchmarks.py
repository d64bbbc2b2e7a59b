"""MT-Bench against Arena-Hard: whether the two benchmarks agree on the cells."""

from collections.abc import Iterator

from crowdselect_core.experiment.published.tables import METRICS
from crowdselect_core.report.experiment_page.data import ExperimentData, Limits
from crowdselect_core.report.experiment_page.drawing import Point, plot
from crowdselect_core.report.experiment_page.references import (
    of_metric,
    several_judges,
    trained_models,
    wanted,
)
from crowdselect_core.report.page.section import Section
from crowdselect_core.report.page.templating import filled

Row = tuple[str, float, float, str]  # name, MT-Bench, Arena-Hard, kind of the point


def benchmarks(data: ExperimentData, limits: Limits) -> Section | None:
    """Show the cells by both benchmarks, published numbers beside them; None without both."""
    own = list(_own(data))
    if not own:
        return None
    references = list(dict.fromkeys(_published(data)))
    rows = [*own[: limits.rows], *references[: limits.rows]]
    points = [Point(i, mt, arena, kind) for i, (_, mt, arena, kind) in enumerate(rows, 1)]
    html = filled(
        "experiment_benchmarks.html",
        plot=plot(points, "MT-Bench, points of 10", "Arena-Hard, win rate in %"),
        rows=rows,
        left_out=max(len(own) - limits.rows, 0),
        published=bool(references),
        several=several_judges(data),
    )
    return Section("benchmarks", "MT-Bench and Arena-Hard", html)


def _own(data: ExperimentData) -> Iterator[Row]:
    mt, arena = (of_metric(data, *names) for names in METRICS)
    for cell, on_mt in mt.items():
        on_arena = arena.get(cell)
        if on_arena is not None and on_mt.mean is not None and on_arena.mean is not None:
            yield cell, on_mt.mean, on_arena.mean, "own"


def _published(data: ExperimentData) -> Iterator[Row]:
    """Yield the published numbers of the base models that are trained."""
    for table in wanted(data):
        number = table.title.split(":")[0]
        for model in trained_models(data, table):
            for row in table.rows:
                if model in row.values:
                    mark = " †" if model in row.disputed else ""
                    yield f"{number}: {row.label}, {model}{mark}", *row.values[model], "published"
