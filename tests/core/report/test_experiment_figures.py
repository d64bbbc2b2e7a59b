"""OUT/figures of an experiment: what there is to draw, as SVG and PNG, whatever the names."""

import xml.etree.ElementTree as ET

import polars as pl
from experiment_tables import (
    CROWD,
    RANDOM,
    advice,
    cell,
    comparison,
    comparisons,
    experiment,
    sensitivity,
)
from experiment_tables import overlaps as overlap_table

from crowdselect_core.experiment.comparisons import Comparisons
from crowdselect_core.experiment.piloting import Advised
from crowdselect_core.experiment.schemas import COMPARISONS, OVERLAPS
from crowdselect_core.export import figure_files
from crowdselect_core.export.experiment_files import Results
from crowdselect_core.report.figures.experiment import draw_experiment

HOSTILE = "a$x_1$ <b> \x1b[31m \u202e" + "w" * 500
WIN, REWARD = ("arena-hard", "win_rate"), ("choice", "reward")


def results(names: list[str], *, trained: bool) -> Results:
    """Return what an experiment of these cells found."""
    values = {REWARD: [0.5, 0.7]} | ({WIN: [80.0, None]} if trained else {})
    table = experiment([row for name in names for row in cell(name, values)])
    compared = [comparison(), comparison(b=HOSTILE, primary=False, low=None, high=None)]
    told = comparisons(compared) if trained else pl.DataFrame(schema=dict(COMPARISONS))
    pairs = [(names[0], name, 1000.0, 0.3, 0.1, 0.2, 0.4) for name in names[1:]]
    return Results(
        cells=names, replicates=2, table=table,
        comparisons=Comparisons(told, [], 0.25, 2),
        overlaps=overlap_table(pairs) if pairs else pl.DataFrame(schema=dict(OVERLAPS)),
        verdicts=[], notes=[], left_out=[], artifacts={},
        advised=Advised(
            advice([(0, None, 3, "a", 9.0, 0.0, 1.0, 1.0, 1.0, True),
                    (1, HOSTILE, 2, "a", 5.0, 0.4, 0.8, 0.7, 0.9, False)]),
            sensitivity([]), [],
        ) if trained else None,
    )  # fmt: skip


def test_a_trained_experiment_has_all_figures() -> None:
    told = results([CROWD, RANDOM, HOSTILE], trained=True)
    drawn = draw_experiment(told)
    assert sorted(drawn) == sorted(figure_files.EXPERIMENT_NAMES)
    for name, data in drawn.items():
        if name.endswith(".png"):
            assert data.startswith(b"\x89PNG\r\n\x1a\n")
        else:
            assert ET.fromstring(data).tag.endswith("svg")  # noqa: S314 - our own
    assert draw_experiment(told) == drawn


def test_one_choice_alone_has_one_figure() -> None:
    assert sorted(draw_experiment(results([CROWD], trained=False))) == [
        "choices.png", "choices.svg",
    ]  # fmt: skip
