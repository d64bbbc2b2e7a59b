"""The figures of an experiment: differences, results, choices, overlaps, the advisor's curve."""

from collections.abc import Callable

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from crowdselect_core.experiment.schemas import CHOICE
from crowdselect_core.export.experiment_files import Results
from crowdselect_core.report.experiment import OF_CHOICE, means
from crowdselect_core.report.figures.style import CHOSEN, DPI, ELIGIBLE, as_bytes, figure, label

ROW = 0.26  # inches of a cell
MOST = 40  # cells or comparisons that are drawn
WRITTEN = 15  # cells up to which a matrix carries its numbers
METRICS = 4  # that are drawn beside each other
MOST_PIXELS = 8_000  # of a side


def draw_experiment(told: Results) -> dict[str, bytes]:
    """Draw the figures of an experiment; the same numbers give the same bytes.

    Returns:
        Files by name, each as SVG and PNG: choices; differences and results where something was
        trained; overlaps where two cells have one budget; advice where the advisor found some.
    """
    files: dict[str, bytes] = {}
    for name, (title, drawn) in _figures(told).items():
        files |= {f"{name}.{ending}": data for ending, data in as_bytes(drawn, title).items()}
    return files


def _figures(told: Results) -> dict[str, tuple[str, Callable[[], Figure]]]:
    averages = means(told.table)
    choices = averages.filter(
        pl.col("benchmark") == CHOICE,
        pl.col("metric").is_in(OF_CHOICE),
        pl.col("mean").is_not_null(),
    )
    results = averages.filter(pl.col("benchmark") != CHOICE, pl.col("mean").is_not_null())
    compared = told.comparisons.table.filter(pl.col("difference").is_not_null())
    found: dict[str, tuple[str, Callable[[], Figure]]] = {}
    if not compared.is_empty():
        found["differences"] = (
            "Differences between cells with 95 % intervals, the primary comparison first",
            lambda: differences(compared),
        )
    for name, table, what in (
        ("results", results, "Results of the cells"),
        ("choices", choices, "What was chosen"),
    ):
        if not table.is_empty():
            title = f"{what}: mean over replicates, with the least and the most of one"
            found[name] = (title, lambda table=table: cells(table))  # type: ignore[misc]
    if not told.overlaps.is_empty():
        found["overlaps"] = (
            "Share of rows that two cells of one budget have in common (Jaccard)",
            lambda: overlaps(told.overlaps),
        )
    if told.advised is not None and not told.advised.advice.is_empty():
        advice = told.advised.advice
        found["advice"] = ("What a smaller crowd costs and keeps", lambda: curve(advice))
    return found


def differences(compared: pl.DataFrame) -> Figure:
    """Draw the comparisons of the metric that stands first, each with its interval."""
    first = compared.row(0, named=True)
    own = compared.filter(
        pl.col("benchmark") == first["benchmark"], pl.col("metric") == first["metric"]
    ).head(MOST)
    made, [axis] = figure(9, _height(own.height))
    for place, row in enumerate(own.iter_rows(named=True)):
        colour = CHOSEN if row["primary"] else ELIGIBLE
        axis.plot([row["difference"]], [place], "o", color=colour)
        if row["low"] is not None:
            axis.plot([row["low"], row["high"]], [place, place], color=colour)
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set_yticks(range(own.height), [label(f"{a} - {b}", 70) for a, b in own["a", "b"].rows()])
    axis.invert_yaxis()
    axis.set_xlabel(label(f"difference in {first['benchmark']} {first['metric']}"))
    return made


def cells(table: pl.DataFrame) -> Figure:
    """Draw the mean of every cell, and the range of its replicates, a metric beside the other."""
    metrics = table.select("benchmark", "metric").unique(maintain_order=True).rows()[:METRICS]
    names = table["cell"].unique(maintain_order=True).to_list()[:MOST]
    made, axes = figure(3.5 + 2.4 * len(metrics), _height(len(names)), len(metrics))
    for axis, (benchmark, metric) in zip(axes, metrics, strict=True):
        own = table.filter(
            pl.col("benchmark") == benchmark,
            pl.col("metric") == metric,
            pl.col("cell").is_in(names),
        )
        for row in own.iter_rows(named=True):
            place = names.index(row["cell"])
            axis.plot([row["low"], row["high"]], [place, place], color=ELIGIBLE, linewidth=3)
            axis.plot([row["mean"]], [place], "o", color=CHOSEN, markersize=4)
        axis.set_ylim(len(names) - 0.5, -0.5)
        axis.set_yticks(range(len(names)), [])
        axis.tick_params(axis="x", labelrotation=30)
        axis.set_title(label(metric if benchmark == CHOICE else f"{benchmark} {metric}", 24))
    axes[0].set_yticks(range(len(names)), [label(name, 48) for name in names])
    return made


def overlaps(table: pl.DataFrame) -> Figure:
    """Draw the overlap of every pair of cells of the budget that stands first."""
    budget = table["budget"][0]
    own = table.filter(pl.col("budget").eq_missing(budget))
    names = pl.concat([own["a"], own["b"]]).unique(maintain_order=True).to_list()[:MOST]
    places = {name: place for place, name in enumerate(names)}
    shares = np.eye(len(names))
    for a, b, jaccard in own.select("a", "b", "jaccard").iter_rows():
        if a in places and b in places:
            shares[places[a], places[b]] = shares[places[b], places[a]] = jaccard
    side = 3.2 + 0.36 * len(names)
    made, [axis] = figure(side + 1.2, side)
    image = axis.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    shown = [label(name, 32) for name in names]
    axis.set_xticks(range(len(names)), shown, rotation=90, fontsize=7)
    axis.set_yticks(range(len(names)), shown, fontsize=7)
    if len(names) <= WRITTEN:
        for i, j in np.ndindex(shares.shape):
            colour = "white" if shares[i, j] > 0.6 else "black"
            axis.text(j, i, f"{shares[i, j]:.2f}", ha="center", va="center", color=colour, size=6)
    made.colorbar(image, ax=axis, shrink=0.8, label="Jaccard index")
    return made


def curve(advice: pl.DataFrame) -> Figure:
    """Draw cost against the share of the choice that is kept, as models are taken away."""
    made, [axis] = figure(6, 4)
    rows = advice.sort("step").drop_nulls("kept")
    axis.fill_between(rows["cost"], rows["low"], rows["high"], color=ELIGIBLE, alpha=0.4)
    axis.plot(rows["cost"], rows["kept"], "o-", color=CHOSEN, markersize=4)
    axis.set_xlabel("cost of answers and scores")
    axis.set_ylabel("share of the whole crowd's choice")
    axis.set_ylim(0, 1.02)
    return made


def _height(rows: int) -> float:
    return min(1.4 + ROW * rows, MOST_PIXELS / DPI)
