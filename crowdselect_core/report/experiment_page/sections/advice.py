"""The crowd advisor: how much of the choice a cheaper crowd keeps."""

from crowdselect_core.report.experiment_page.data import ExperimentData, Limits
from crowdselect_core.report.experiment_page.drawing import Point, plot
from crowdselect_core.report.page.section import Section
from crowdselect_core.report.page.templating import filled

MARK = "advisor: "  # of the advisor's first line


def advice(data: ExperimentData, limits: Limits) -> Section | None:
    """Show the advisor's curve and its lines; None where none was asked for."""
    if data.advice is None:
        return None
    shown = data.advice.head(limits.rows)
    rows = shown.to_dicts()
    keep = data.told("experiment", "advisor", "keep")
    lines = [100 * float(keep)] if isinstance(keep, int | float) else []
    points = [
        Point(
            row["step"], 100 * row["saved"], 100 * row["kept"],
            "advised" if row["advised"] else "own", 100 * row["low"], 100 * row["high"],
        )
        for row in rows
    ]  # fmt: skip
    drawn = plot(points, "cost saved, %", "choice kept, %", lines=lines) if points else None
    html = filled(
        "experiment_advice.html",
        lines=[_sentence(line) for line in data.words("advice")],
        plot=drawn,
        rows=rows,
        unit=data.told("experiment", "advisor", "unit") or "",
        left_out=data.advice.height - len(rows),
    )
    return Section("advice", "A cheaper crowd?", html)


def _sentence(line: str) -> str:
    """Return a line of the advisor without the mark that it has in a terminal, as a sentence."""
    text = line.removeprefix(MARK)
    return line if text == line else text[:1].upper() + text[1:]
