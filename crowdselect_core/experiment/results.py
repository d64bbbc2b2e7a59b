"""The rows of experiment.parquet: what every cell came to in every replicate."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from crowdselect_core.experiment.cells import Cell, Replicate
from crowdselect_core.experiment.descriptions import Described
from crowdselect_core.experiment.made import Made
from crowdselect_core.experiment.schemas import CHOICE, EXPERIMENT

# Columns of a description that are no metrics of a choice.
NAMES = {"cell", "replicate", "budget", "cost_seconds"}


def table(
    cells: Sequence[tuple[Cell, Replicate, Made]], described: Mapping[int, Described]
) -> pl.DataFrame:
    """Return experiment.parquet: a row per cell, replicate and metric.

    Output columns: schemas.EXPERIMENT. Metrics of the benchmark `choice` are the columns of
    `descriptions.CELLS`, `model_share/NAME` of every crowd model whose answers are kept, and
    `cluster_share/ID` of every cluster that has chosen rows (0 to 1).

    Args:
        cells: every cell in every replicate, in the order of the grid.
        described: the choices of each replicate.
    """
    tokens = {
        (row["cell"], row["replicate"]): row["answer_tokens"]
        for found in described.values()
        for row in found.cells.iter_rows(named=True)
    }
    shares = {number: _shares(found) for number, found in described.items()}
    rows: list[dict[str, Any]] = []
    for cell, replicate, made in cells:
        fixed = {
            **cell.facts,
            "seed": replicate.seed,
            "replicate": replicate.number,
            "answer_tokens": tokens.get((cell.name, replicate.number)),
            "steps": made.steps,
            "cost_tokens": made.tokens,
            "cost_seconds": made.seconds,
            "cached": made.cached,
        }
        own = shares.get(replicate.number, {}).get(cell.name, [])
        rows += [fixed | dict(measured) for measured in (*own, *made.results)]
    return pl.DataFrame(rows, schema=dict(EXPERIMENT), orient="row")


def _shares(found: Described) -> dict[str, list[dict[str, Any]]]:
    """Return the metrics of the choices of one replicate, by cell."""
    by_cell: dict[str, list[dict[str, Any]]] = {}
    for row in found.cells.iter_rows(named=True):
        by_cell[row["cell"]] = [
            _metric(name, value, row["rows"]) for name, value in row.items() if name not in NAMES
        ]
    for cell, name, share in _named(found.models, "model", "model_share"):
        by_cell[cell].append(_metric(name, share, None))
    for cell, name, share in _named(found.clusters, "cluster_id", "cluster_share"):
        by_cell[cell].append(_metric(name, share, None))
    return by_cell


def _named(frame: pl.DataFrame, of: str, what: str) -> Iterator[tuple[str, str, float]]:
    for row in frame.iter_rows(named=True):
        yield row["cell"], f"{what}/{row[of]}", row["share"]


def _metric(name: str, value: Any, n: int | None) -> dict[str, Any]:
    told = None if value is None else float(value)
    return {"benchmark": CHOICE, "metric": name, "value": told, "low": None, "high": None, "n": n}


def of_leaderboard(board: pl.DataFrame, model: str) -> list[dict[str, Any]]:
    """Return what a leaderboard says of a model over all categories.

    Of a benchmark with several judges each metric bears the judge's name: `win_rate (gpt-4.1)`.

    Args:
        board: leaderboard.parquet.
        model: its name there.
    """
    own = board.filter(pl.col("model") == model, pl.col("category").is_null())
    rows = []
    for row in own.iter_rows(named=True):
        same = own.filter(
            pl.col("benchmark") == row["benchmark"], pl.col("metric") == row["metric"]
        )
        several = same["judge"].n_unique() > 1
        metric = f"{row['metric']} ({row['judge']})" if several else row["metric"]
        names = ("benchmark", "value", "low", "high", "n")
        rows.append({**{name: row[name] for name in names}, "metric": metric})
    return rows
