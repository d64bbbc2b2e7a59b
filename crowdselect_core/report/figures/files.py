"""OUT/figures: which figures a selection has, each as SVG and as PNG."""

from collections.abc import Callable

from matplotlib.figure import Figure

from crowdselect_core.report.figures import draw
from crowdselect_core.report.figures.data import FigureData
from crowdselect_core.report.figures.style import as_bytes


def draw_all(data: FigureData) -> dict[str, bytes]:
    """Draw the figures; the same numbers give the same bytes.

    Returns:
        Files by name: metrics, mean_scores, win_rates, correlations; clusters where there are any,
        kept_answers where there are answers.
    """
    files: dict[str, bytes] = {}
    for name, (title, drawn) in figures_of(data).items():
        files |= {f"{name}.{ending}": b for ending, b in as_bytes(drawn, title).items()}
    return files


def figures_of(data: FigureData) -> dict[str, tuple[str, Callable[[], Figure]]]:
    """Return the figures by name: what each shows, and how it is drawn."""
    found: dict[str, tuple[str, Callable[[], Figure]]] = {
        "metrics": (
            "Distribution of the metrics over eligible and chosen rows",
            lambda: draw.metric_distributions(data.metrics, data.chosen),
        ),
        "mean_scores": (
            "Mean score by family and size, with 95% intervals over rows",
            lambda: draw.mean_scores(data.means),
        ),
        "win_rates": (
            "How often one model scores above another",
            lambda: draw.win_matrix(data.models, data.wins),
        ),
        "correlations": (
            "Rank correlation of the metrics over eligible rows",
            lambda: draw.correlations(list(data.metrics), data.correlations),
        ),
    }
    clusters = data.clusters
    if clusters is not None:
        found["clusters"] = (
            "Eligible and chosen rows by cluster, with the share that the quota aims at",
            lambda: draw.cluster_sizes(clusters, data.quota),
        )
    if data.kept:
        found["kept_answers"] = (
            "Whose answers are kept of the chosen rows",
            lambda: draw.kept_answers(data.kept),
        )
    return found
