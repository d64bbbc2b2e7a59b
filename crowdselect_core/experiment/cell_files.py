"""What a trained cell came to: its leaderboard in OUT/cells, its model's facts, its time.

OUT/cells/<cell>/<replicate>/cell.json keeps the seconds of the run that trained it, which a later
run that finds everything in the store could not tell.
"""

import json
from dataclasses import replace
from typing import Any

import polars as pl

from crowdselect_core.config.finetune import required
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.evaluate.leaderboard import COLUMNS
from crowdselect_core.evaluate.leaderboard import FILE as LEADERBOARD
from crowdselect_core.evaluate.out_files import FILE as EVALUATION
from crowdselect_core.experiment.grid import Point
from crowdselect_core.experiment.made import Made
from crowdselect_core.experiment.results import of_leaderboard
from crowdselect_core.stages.refs import RankedArtifacts, Ref
from crowdselect_core.store import safe_parquet
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.backend.open import open_backend

FILE = "cell.json"


def result(
    store: Store,
    point: Point,
    trained: tuple[RankedArtifacts, Ref, Ref],
    names: dict[str, str],
    seconds: float | None,
) -> tuple[Made, Made]:
    """Return what a cell came to in a replicate, and what its untuned base came to.

    Args:
        store: where the model is.
        point: the cell in the replicate; its OUT has the leaderboard.
        trained: the artifacts up to the ranking, the selection, the model.
        names: of the models on the leaderboard, by their role (trained, base).
        seconds: that it took; None where it was in the store.
    """
    (rows, selection, model), config = trained, point.config
    place = open_backend(config.out)
    board = safe_parquet.decode(place.read(LEADERBOARD), schema=COLUMNS)
    facts = model.open(store).manifest.facts.get("training", {})
    tokens = float(facts.get("tokens", 0)) * required(config.training).num_train_epochs
    cached = seconds is None
    made = Made(
        point.cell.name,
        point.replicate.number,
        rows,
        selection,
        cached=cached,
        seconds=_remembered(config, model.key) if cached else seconds,
        model=model,
        results=of_leaderboard(board, names["trained"]),
        steps=facts.get("steps"),
        tokens=round(tokens),
        notes=_notes(config),
    )
    if not cached:
        told = {"model": model.key, "seconds": seconds, "cell": point.cell.name}
        place.replace(FILE, json.dumps(told, ensure_ascii=False).encode("utf-8", "replace"))
    return made, base_result(made, board, names["base"])


def base_result(made: Made, board: pl.DataFrame, base: str) -> Made:
    """Return what the untuned base of a cell came to."""
    return replace(
        Made(made.cell, made.replicate, cached=made.cached), results=of_leaderboard(board, base)
    )


def _notes(config: SelectConfig) -> list[str]:
    """Return what the cell's evaluation tells a reader of its results."""
    notes = _json(config, EVALUATION).get("notes")
    return [n for n in notes if isinstance(n, str)] if isinstance(notes, list) else []


def _remembered(config: SelectConfig, model: str) -> float | None:
    """Return the seconds that an earlier run noted of this very model."""
    told = _json(config, FILE)
    seconds = told.get("seconds") if told.get("model") == model else None
    return float(seconds) if isinstance(seconds, int | float) else None


def _json(config: SelectConfig, name: str) -> dict[str, Any]:
    """Return what a file in the cell's OUT says; nothing where there is none that can be read."""
    try:
        told: Any = json.loads(open_backend(config.out).read(name))
    except (FileNotFoundError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}
