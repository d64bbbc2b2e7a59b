"""Hand-made results of an experiment: its tables and its manifest."""

import io
import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl

from crowdselect_core.experiment.advisor import ADVICE
from crowdselect_core.experiment.schemas import COMPARISONS, EXPERIMENT, OVERLAPS
from crowdselect_core.experiment.sensitivity import SENSITIVITY

Row = dict[str, Any]
CROWD, RANDOM = "crowdselect k=10 n=1000", "random k=10 n=1000"
BASE = "meta-llama/Llama-3.2-3B-Instruct"
CONFIG: dict[str, Any] = {
    "dataset": {"path": "zoo.parquet"},
    "heldout": {"share": 0.25},
    "experiment": {
        "train": True, "seeds": [0, 1, 2], "replicate": {"split": True, "subsample": 0.8},
        "primary": {"method": "crowdselect", "baseline": "random", "metric": "win_rate"},
        "published": [], "advisor": None,
    },
}  # fmt: skip


def cell(
    name: str, values: Mapping[tuple[str, str], Sequence[float | None]], **facts: Any
) -> list[Row]:
    """Return the rows of a cell: of each (benchmark, metric) a value a replicate."""
    fixed = {
        "cell": name, "method": name.split()[0], "direction": "top", "clusters": 10,
        "budget": 1000.0, "weights": None, "response": "best", "reward_models": "skywork",
        "crowd": "all", "base_model": BASE, "loss": "sft", "peft": "full", "n": 80,
        "answer_tokens": 300_000, "steps": 1500, "cost_tokens": 1_200_000, "cost_seconds": 600.0,
        "cached": False, "low": None, "high": None, **facts,
    }  # fmt: skip
    return [
        fixed | {"seed": i, "replicate": i, "benchmark": benchmark, "metric": metric, "value": v}
        for (benchmark, metric), own in values.items()
        for i, v in enumerate(own)
    ]


def comparison(**other: Any) -> Row:
    """Return a row of comparisons.parquet."""
    return {
        "a": CROWD, "b": RANDOM, "primary": True, "benchmark": "arena-hard", "metric": "win_rate",
        "budget": 1000.0, "base_model": BASE, "loss": "sft", "difference": 2.0, "low": -1.0,
        "high": 5.0, "p": 0.25, "p_holm": 0.25, "replicates": 3, "detectable": 4.0, **other,
    }  # fmt: skip


def frame(rows: Sequence[Any], schema: Mapping[str, Any]) -> pl.DataFrame:
    """Return rows as a table of a schema."""
    return pl.DataFrame(rows, schema=dict(schema), orient="row")


def experiment(rows: Sequence[Row]) -> pl.DataFrame:
    """Return experiment.parquet."""
    return frame(rows, EXPERIMENT)


def comparisons(rows: Sequence[Row]) -> pl.DataFrame:
    """Return comparisons.parquet."""
    return frame(rows, COMPARISONS)


def overlaps(rows: Sequence[tuple[Any, ...]]) -> pl.DataFrame:
    """Return overlaps.parquet of (a, b, budget, jaccard, expected, low, high)."""
    return frame(rows, OVERLAPS)


def advice(rows: Sequence[tuple[Any, ...]]) -> pl.DataFrame:
    """Return advice.parquet."""
    return frame(rows, ADVICE)


def sensitivity(rows: Sequence[tuple[Any, ...]]) -> pl.DataFrame:
    """Return sensitivity.parquet."""
    return frame(rows, SENSITIVITY)


def write_out(
    out: Path, tables: Mapping[str, pl.DataFrame], config: Mapping[str, Any], summary: Row
) -> None:
    """Write tables by their names and a manifest that names them, as an experiment leaves them."""
    out.mkdir(parents=True, exist_ok=True)
    stated = {}
    for name, table in tables.items():
        buffer = io.BytesIO()
        table.write_parquet(buffer)
        data = buffer.getvalue()
        (out / f"{name}.parquet").write_bytes(data)
        stated[f"{name}.parquet"] = {"bytes": len(data), "sha256": sha256(data).hexdigest()}
    manifest = {"key": "k", "artifacts": {}, "config": config, "files": stated, "summary": summary}
    (out / "manifest.json").write_text(json.dumps(manifest))
