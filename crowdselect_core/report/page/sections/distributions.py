"""How each metric is distributed over the eligible rows, and over the chosen ones."""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.report.page.packing import pack_json
from crowdselect_core.report.page.section import PageData, Section
from crowdselect_core.report.page.sections.overview import quantile_columns
from crowdselect_core.report.page.templating import filled
from crowdselect_core.tables import METRIC_NAMES

BINS = 30
WIDTH, HEIGHT = 320, 120  # of a figure, in its own units
QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
WORDS = {
    "difficulty": "minus the mean score of the crowd: further right is harder",
    "separability": "variance of the scores: further right, the models differ more",
    "stability": "rank correlation of size and score in a family: 1 is bigger is always better",
    "headroom": "best score minus the student's: further right, more to learn",
}

Floats = NDArray[np.float64]


def distributions(data: PageData, room: int) -> Section | None:
    """Draw a histogram of every metric: share of the eligible rows and of the chosen ones."""
    eligible = data.by_id.filter("eligible")
    names = quantile_columns(eligible)
    figures = [_figure(eligible, name) for name in names]
    if not figures:
        return None
    edges = {f["name"]: _rank_edges(data.by_id, f["name"], f["edges"]) for f in figures}
    html = filled(
        "distributions.html", figures=figures, width=WIDTH, height=HEIGHT, quantiles=QUANTILES
    )
    bins = {
        "names": [f["name"] for f in figures],
        "keys": [METRIC_NAMES.index(f["name"]) for f in figures],
        "edges": edges,
        "most": {f["name"]: f["most"] for f in figures},
        "height": HEIGHT,
    }
    blocks = {"distributions-bins": pack_json(bins)}
    return Section("distributions", "Metrics", html, blocks)


def _figure(eligible: pl.DataFrame, name: str) -> dict[str, Any]:
    values_E = eligible[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    defined_E = ~np.isnan(values_E)
    values, chosen = values_E[defined_E], values_E[defined_E & eligible["selected"].to_numpy()]
    edges = _edges(values)
    of_all, of_chosen = shares(values, edges), shares(chosen, edges)
    most = max(of_all.max(initial=0.0), of_chosen.max(initial=0.0), 1e-12)
    return {
        "name": name,
        "words": WORDS[name],
        "edges": edges,
        "low": float(edges[0]),
        "high": float(edges[-1]),
        "most": most,
        "bars": _bars(of_all / most * HEIGHT, of_chosen / most * HEIGHT),
        "rows": [
            ("eligible", len(values), _quantiles(values)),
            ("chosen", len(chosen), _quantiles(chosen)),
        ],
    }  # fmt: skip


def _bars(of_all: Floats, of_chosen: Floats) -> list[dict[str, float]]:
    step = WIDTH / BINS
    both = zip(of_all.tolist(), of_chosen.tolist(), strict=True)
    return [
        {"x": i * step, "width": step - 1, "all": high, "chosen": own}
        for i, (high, own) in enumerate(both)
    ]


def _edges(values: Floats) -> Floats:
    """Return the edges of bins over the middle 99 % of the values; the outer bins take the rest."""
    low, high = np.quantile(values, [0.005, 0.995])
    if low == high:
        low, high = values.min(), values.max()
    if low == high:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, BINS + 1)


def shares(values: Floats, edges: Floats) -> Floats:
    """Return the share of the values in each bin [edge, next edge); the outer take the rest."""
    counts = np.bincount(
        np.searchsorted(edges[1:-1], values, side="right"), minlength=len(edges) - 1
    )
    return counts / max(len(values), 1)


def _quantiles(values: Floats) -> list[float | None]:
    return np.quantile(values, QUANTILES).tolist() if len(values) else [None] * len(QUANTILES)


def _rank_edges(rows: pl.DataFrame, name: str, edges: Floats) -> list[int]:
    """Return the bins' inner edges as dense ranks: the first rank that lies in the next bin."""
    values_N = rows[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    if name == "stability":
        values_N = np.round(values_N, 9)
    distinct = np.unique(values_N[~np.isnan(values_N)])
    return [int(rank) for rank in np.searchsorted(distinct, edges[1:-1], side="left")]
