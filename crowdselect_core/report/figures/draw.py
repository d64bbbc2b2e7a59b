"""The figures of a selection, each a function from its numbers to a matplotlib figure."""

from collections.abc import Callable, Mapping

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from crowdselect_core.report.crowd_figures import ModelMean
from crowdselect_core.report.figures.data import Floats
from crowdselect_core.report.figures.style import (
    CHOSEN,
    DIVERGING,
    ELIGIBLE,
    family_styles,
    figure,
    label,
)

BINS = 40
WRITTEN = 20  # models up to which the cells of a matrix carry their number
DARK = 0.3  # distance from the middle beyond which a number is white
CELL = 0.42  # inches of a cell or a bar


def metric_distributions(metrics: Mapping[str, Floats], chosen: Mapping[str, Floats]) -> Figure:
    """Draw each metric's distribution over the eligible rows, that of the chosen rows above it."""
    made, axes = figure(3.6 * len(metrics), 3.2, len(metrics))
    for axis, (name, values) in zip(axes, metrics.items(), strict=True):
        axis.set_title(name)
        if not len(values):
            _note(axis, "undefined in every row")
            continue
        edges = np.histogram_bin_edges(np.concatenate([values, chosen[name]]), bins=BINS)
        for data, style in (
            (values, {"color": ELIGIBLE, "label": f"eligible ({len(values):,})"}),
            (
                chosen[name],
                {
                    "histtype": "step", "color": CHOSEN, "linewidth": 1.8,
                    "label": f"chosen ({len(chosen[name]):,})",
                },
            ),
        ):  # fmt: skip
            if len(data):
                weights = np.full(len(data), 100 / len(data))
                axis.hist(data, bins=list(edges), weights=weights, **style)
        axis.set_ylabel("% of its rows")
        axis.legend(fontsize=7, loc="best")
    return made


def cluster_sizes(clusters: pl.DataFrame, quota: str) -> Figure:
    """Draw the eligible rows of every cluster, and beside it the chosen ones with their share."""
    ids = [str(i) for i in clusters["cluster_id"].to_list()]
    made, (left, right) = figure(9, max(2.4, min(0.22 * len(ids) + 1, 30)), 2)
    places = np.arange(len(ids))
    left.barh(places, clusters["eligible"].to_list(), color=ELIGIBLE)
    left.set_xlabel("eligible rows")
    left.set_ylabel("cluster")
    right.barh(places, clusters["chosen"].to_list(), color=CHOSEN, label="chosen")
    right.plot(
        clusters["share"].to_list(), places, linestyle="", marker="|", markersize=11,
        markeredgewidth=2, color="black", label=f"share by quota {quota}",
    )  # fmt: skip
    right.set_xlabel("chosen rows")
    right.legend(
        fontsize=7, loc="upper center", bbox_to_anchor=(0.5, 1.0 + 0.9 / len(ids)), ncols=2
    )
    for axis in (left, right):
        axis.set_yticks(places, ids, fontsize=7)
        axis.invert_yaxis()
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    return made


def mean_scores(means: list[ModelMean]) -> Figure:
    """Draw every model's mean score by its size, the models of a family joined by a line."""
    families = list(dict.fromkeys(m.family for m in means))
    made, (axis,) = figure(7.5, max(3.6, 0.2 * len(families) + 1.6))
    for name, style in family_styles(families).items():
        own = [m for m in means if m.family == name and m.rows]
        if not own:
            continue
        error = [[m.mean - m.low for m in own], [m.high - m.mean for m in own]]
        axis.errorbar(
            [m.size for m in own], [m.mean for m in own], yerr=np.nan_to_num(error), capsize=3,
            markersize=5, linewidth=1, label=label(name), **style,
        )  # fmt: skip
    sizes = sorted({m.size for m in means})
    if sizes[0] > 0 and sizes[-1] > 3 * sizes[0]:
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_xlabel("size")
    axis.set_ylabel("mean score, 95% interval over rows")
    axis.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return made


def win_matrix(models: list[str], wins: Floats) -> Figure:
    """Draw how often the model of a row scores above that of a column, ties half, in percent."""
    axis_of = max(4.0, CELL * len(models) + 2.4)
    made, (axis,) = figure(axis_of + 0.6, axis_of)
    _matrix(axis, wins, [label(m) for m in models], (0, 1), lambda v: f"{100 * v:.0f}")
    axis.set_title("row scores above column, % (ties half)")
    return made


def kept_answers(kept: Mapping[str, int]) -> Figure:
    """Draw how many chosen rows keep each model's answer."""
    made, (axis,) = figure(6.5, max(2.2, 0.24 * len(kept) + 1))
    places, counts = np.arange(len(kept)), list(kept.values())
    bars = axis.barh(places, counts, color=CHOSEN)
    axis.bar_label(bars, [f"{n:,}" for n in counts], padding=2, fontsize=7)
    axis.set_yticks(places, [label(name) for name in kept], fontsize=7)
    axis.invert_yaxis()
    axis.set_xlabel("chosen rows whose answer is the model's")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    return made


def correlations(names: list[str], rho: Floats) -> Figure:
    """Draw the rank correlation of each two metrics over the eligible rows."""
    made, (axis,) = figure(4.6, 3.9)
    _matrix(axis, rho, names, (-1, 1), lambda v: f"{v:.2f}")
    axis.set_title("Spearman's rank correlation")
    return made


def _matrix(
    axis: Axes,
    values: Floats,
    names: list[str],
    limits: tuple[float, float],
    written: Callable[[float], str],
) -> None:
    """Draw a matrix in colours about its middle, with its numbers where they fit."""
    low, high = limits
    image = axis.imshow(values, cmap=DIVERGING, vmin=low, vmax=high)
    bar = axis.figure.colorbar(image, ax=axis, shrink=0.8)
    bar.outline.set_visible(False)
    places = np.arange(len(names))
    axis.set_xticks(places, names, fontsize=7, rotation=90)
    axis.set_yticks(places, names, fontsize=7)
    axis.spines[:].set_visible(False)
    if len(names) > WRITTEN:
        return
    middle, reach = (low + high) / 2, high - low
    for i, j in np.ndindex(*values.shape):
        value = float(values[i, j])
        if not np.isnan(value):
            far = abs(value - middle) / reach > DARK
            axis.text(
                j, i, written(value), ha="center", va="center", fontsize=7,
                color="white" if far else "black",
            )  # fmt: skip


def _note(axis: Axes, text: str) -> None:
    axis.set_axis_off()
    axis.text(0.5, 0.5, text, ha="center", va="center", transform=axis.transAxes)
