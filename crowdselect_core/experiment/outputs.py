"""Comparing two outputs that exist: what `python -m flows.experiment --compare OUT1 OUT2` prints.

Both folders are read as they stand (selection.parquet, ranking.parquet, manifest.json); nothing is
computed again, so outputs of other machines and of earlier versions can be compared.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from crowdselect_core.errors import ConfigError, StorageError
from crowdselect_core.experiment.overlaps import chance, jaccard
from crowdselect_core.store import safe_parquet
from crowdselect_core.store.backend.open import open_backend
from crowdselect_core.store.out_files import is_manifest
from crowdselect_core.tables import METRIC_NAMES, Columns
from crowdselect_core.urls import shown_path
from crowdselect_core.util.text import plain

SELECTION, RANKING, MANIFEST = "selection.parquet", "ranking.parquet", "manifest.json"
NEEDED = {
    SELECTION: ("instruction_id",),
    RANKING: ("instruction_id", "eligible"),
}
TOLD = ("method", "direction", "budget", "clusters", "weights", "quota", "response", "seed")
NAME = 60  # characters of a name that are shown

DIFFERENCES: Columns = {
    "what": pl.String,  # rows, a metric, lengths, or "kept MODEL"
    "unit": pl.String,
    "a": pl.Float64,  # of the first output; null where it has none
    "b": pl.Float64,
    "change": pl.Float64,  # b - a
}


@dataclass(frozen=True)
class Output:
    """One output folder as it was read."""

    path: str
    selection: pl.DataFrame
    ranking: pl.DataFrame
    config: Mapping[str, Any]


@dataclass(frozen=True)
class OutputComparison:
    """What two outputs have in common.

    Attributes:
        shared: rows that both chose; expected: that two random choices of these sizes, from the
            rows eligible in each, would share.
        jaccard, expected_jaccard: the same as |A and B| / |A or B|.
        table: DIFFERENCES.
        lines: all of it in plain words.
    """

    shared: int
    expected: float
    jaccard: float
    expected_jaccard: float
    table: pl.DataFrame
    lines: list[str]


def read_output(path: str) -> Output:
    """Read a folder that a selection or a reselection wrote.

    Raises:
        ConfigError: no such folder, no output of ours, or one that is being written.
        StorageError: a file is damaged, or the place cannot be reached.
    """
    place, where = open_backend(path), shown_path(path)
    try:
        told = json.loads(place.read(MANIFEST))
    except FileNotFoundError:
        raise ConfigError(
            f"compare: {where} has no {MANIFEST}: expected a folder that flows.select or "
            "flows.reselect wrote (a run that was killed while it wrote leaves none; run it again)"
        ) from None
    except (ValueError, RecursionError):
        told = None
    if not is_manifest(told):
        raise ConfigError(
            f"compare: {where}/{MANIFEST} is no manifest of a selection: name its OUT"
        )
    tables = {}
    for name, columns in NEEDED.items():
        if name not in told["files"]:
            raise ConfigError(
                f"compare: {where} is an output without {name}: expected one of flows.select or "
                "flows.reselect"
            )
        try:
            tables[name] = safe_parquet.decode(place.read(name))
        except FileNotFoundError:
            raise StorageError(
                f"compare: {where}/{name} is missing: run that command again"
            ) from None
        except safe_parquet.Unreadable as e:
            raise StorageError(f"compare: {where}/{name} {e}: run that command again") from None
        if missing := [c for c in columns if c not in tables[name].columns]:
            raise StorageError(f"compare: {where}/{name} has no column {missing[0]!r}")
    config = told.get("config")
    return Output(
        where, tables[SELECTION], tables[RANKING], config if isinstance(config, dict) else {}
    )


def compare_outputs(first: str, second: str) -> OutputComparison:
    """Compare two outputs: overlap, what chance gives, shifts of metrics and lengths, kept models.

    Args:
        first, second: the OUT folders, or their URLs.

    Raises:
        ConfigError: one is no output; they have no row in common to choose from.
        StorageError: a file is damaged, or a place cannot be reached.
    """
    a, b = read_output(first), read_output(second)
    ids_a, ids_b = (o.selection["instruction_id"] for o in (a, b))
    known_a, known_b = (o.ranking["instruction_id"] for o in (a, b))
    common = int(known_a.is_in(known_b.implode()).sum())
    if not common:
        raise ConfigError(
            f"compare: {a.path} and {b.path} have no instruction id in common: they are of two "
            "data sets, or their ids were made otherwise"
        )
    shared = int(ids_a.is_in(ids_b.implode()).sum())
    expected, expected_index = _chance(a, b)
    index = jaccard(shared, len(ids_a), len(ids_b))
    table = pl.DataFrame(_rows(a, b), schema=dict(DIFFERENCES), orient="row")
    lines = _lines(a, b, table, common, shared, expected)
    lines.insert(1, f"Jaccard index {index:.3f}, by chance {expected_index:.3f}.")
    return OutputComparison(shared, expected, index, expected_index, table, lines)


def _chance(a: Output, b: Output) -> tuple[float, float]:
    """Return the overlap and the Jaccard index of two random choices of the eligible rows."""
    able = [o.ranking.filter("eligible")["instruction_id"] for o in (a, b)]
    both = int(able[0].is_in(able[1].implode()).sum())
    sizes = a.selection.height, b.selection.height
    if not both:
        return 0.0, 0.0
    # rows of one pool that would give the same mean overlap as the two do
    rows = round(len(able[0]) * len(able[1]) / both)
    return chance(((max(rows, *sizes), *sizes),))


def _rows(a: Output, b: Output) -> list[tuple[Any, ...]]:
    rows = [_row("rows chosen", "rows", a.selection.height, b.selection.height)]
    rows.append(_row("rows eligible", "rows", *(int(o.ranking["eligible"].sum()) for o in (a, b))))
    rows += [
        _row(f"mean {name}", "of chosen rows", *(_mean(o, name) for o in (a, b)))
        for name in METRIC_NAMES
    ]
    for name, column in (("instruction", "messages"), ("answer", "response")):
        lengths = (_length(o.selection, column) for o in (a, b))
        rows.append(_row(f"mean {name} length", "characters", *lengths))
    shares = [_kept(o.selection) for o in (a, b)]
    for model in sorted({*shares[0], *shares[1]}):
        mine = (s.get(model, 0.0) if s else None for s in shares)
        rows.append(_row(f"kept {model}", "share of answers", *mine))
    return [row for row in rows if row[2] is not None or row[3] is not None]


def _row(what: str, unit: str, a: float | None, b: float | None) -> tuple[Any, ...]:
    return what, unit, a, b, None if a is None or b is None else b - a


def _mean(output: Output, name: str) -> float | None:
    if name not in output.selection.columns:
        return None
    values = output.selection[name].cast(pl.Float64).drop_nulls().to_numpy()
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else None


def _length(selection: pl.DataFrame, column: str) -> float | None:
    """Return the mean length in characters, of messages of all before the answer together."""
    if column not in selection.columns:
        return None
    texts = selection[column].drop_nulls()
    if texts.is_empty():
        return None
    if column == "response":
        return float(texts.str.len_chars().cast(pl.Float64).mean())  # type: ignore[arg-type]
    lengths = [
        sum(len(m["content"] or "") for m in messages if m["role"] != "assistant")
        for messages in texts.to_list()
    ]
    return sum(lengths) / len(lengths)


def _kept(selection: pl.DataFrame) -> dict[str, float]:
    if "response_model" not in selection.columns:
        return {}
    models = selection["response_model"].drop_nulls()
    counts = models.value_counts()
    return {str(m): n / len(models) for m, n in counts.iter_rows()}


def _lines(
    a: Output, b: Output, table: pl.DataFrame, common: int, shared: int, expected: float
) -> list[str]:
    sizes = a.selection.height, b.selection.height
    lines = [
        f"{shared:,} of {sizes[0]:,} and {sizes[1]:,} chosen rows are the same "
        f"({expected:.1f} expected by chance)."
    ]
    told = [
        f"{key}: {plain(str(a.config.get(key)))[:NAME]} and {plain(str(b.config.get(key)))[:NAME]}"
        for key in TOLD
        if a.config.get(key) != b.config.get(key)
    ]
    lines.append(f"Different: {'; '.join(told)}." if told else "Method, budget and seed are equal.")
    rows = (a.ranking.height, b.ranking.height)
    if rows != (common, common):
        lines.append(
            f"The data sets differ: {rows[0]:,} and {rows[1]:,} rows, {common:,} in common; part "
            "of the difference is theirs."
        )
    for what, unit, x, y, change in table.iter_rows():
        if x is None or y is None:
            lines.append(f"{plain(what)[:NAME]}: only one of the two has it.")
        elif change:
            lines.append(f"{plain(what)[:NAME]} ({unit}): {x:.4g} and {y:.4g} ({change:+.4g}).")
    return lines
