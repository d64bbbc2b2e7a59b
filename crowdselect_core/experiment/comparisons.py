"""The comparisons of an experiment: like with like, one of them primary, the others corrected.

Source: METHOD, "Evaluation, exactly".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from crowdselect_core.experiment.pairing import (
    Arm,
    Primary,
    groups,
    is_primary,
    missing_notes,
    pairs,
)
from crowdselect_core.experiment.schemas import COMPARISONS
from crowdselect_core.experiment.statistics import Paired, holm, paired


@dataclass(frozen=True)
class Comparisons:
    """The comparisons, and what a reader must know of them.

    Attributes:
        table: schemas.COMPARISONS, the primary comparison first, the others by benchmark, metric,
            budget, base model and cells.
        notes: missing replicates and cells by name, and which comparison is the primary one where
            several fit; empty when nothing is missing.
        heldout_share: what the intervals are corrected by; None: the plain t interval.
        planned: how many replicates there should be.
    """

    table: pl.DataFrame
    notes: list[str]
    heldout_share: float | None
    planned: int


@dataclass(frozen=True)
class _Pair:
    a: Arm
    b: Arm
    result: Paired


def compare(
    table: pl.DataFrame,
    primary: Primary | None,
    heldout_share: float | None,
    *,
    replicates: Sequence[int] | None = None,
    recipe_of: Mapping[str, str] | None = None,
    matched: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Comparisons:
    """Compare the cells of an experiment, replicate by replicate.

    Only cells of the same benchmark, metric, budget, base model, loss, peft, response rule and
    recipe are compared; with a primary comparison only pairs that have its method or its baseline
    on a side; a token-matched arm with its cell alone (see `pairing.pairs`). A pair counts the
    replicates that both cells have; the others are named in `notes`, and so is a pair that shares
    none.

    Input columns: schemas.EXPERIMENT.

    Output columns (schemas.COMPARISONS):
        difference, low, high: a - b, in the metric's unit; the direction of the metric is that of
            `metric_words.better`: of a loss, above 0 says that a is worse.
        p, p_holm: 0..1; p_holm over all comparisons but the primary, of that one p itself.
        replicates: pairs; detectable: > 0, in the metric's unit, before any correction.
        low, high, detectable are null with a single replicate.

    Args:
        table: the results.
        primary: the comparison that was named beforehand.
        heldout_share: the share that every replicate holds out of the pool; None where nothing but
            the training seed differs between replicates.
        replicates: those that were planned; None: all that any cell has.
        recipe_of: as `pairing.groups`.
        matched: as `pairing.pairs`.
        seed: of the draws of sign flips.

    Raises:
        DatasetError: a column is missing, or two rows of one cell, replicate and metric.
    """
    found = groups(table, primary, recipe_of or {})
    known = {r for group in found for arm in group for r in arm.values}
    planned = sorted(known if replicates is None else {*replicates})
    notes = missing_notes(table, found, planned)
    made: list[_Pair] = []
    for group in found:
        for a, b in pairs(group, primary, matched or {}):
            both = [r for r in planned if r in a.values and r in b.values]
            if not both:
                notes.append(
                    f"not compared: {a.cell} and {b.cell} share no replicate of "
                    f"{a.row['benchmark']} {a.row['metric']}"
                )
                continue
            differences_R = np.array([a.values[r] - b.values[r] for r in both])
            made.append(_Pair(a, b, paired(differences_R, heldout_share, seed=seed)))
    chosen = _primary(made, primary, notes)
    return Comparisons(_table(made, chosen), notes, heldout_share, len(planned))


def _primary(made: Sequence[_Pair], primary: Primary | None, notes: list[str]) -> int | None:
    """Return the place of the primary comparison; say so where none or several fit."""
    if primary is None:
        return None
    fitting = [i for i, pair in enumerate(made) if is_primary(pair.a, pair.b, primary)]
    named = f"{primary.method} - {primary.baseline}, {primary.metric}"
    named += "" if primary.clusters is None else f", {primary.clusters} clusters"
    if not fitting:
        notes.append(f"no primary comparison: no pair of cells is {named}")
        return None
    if len(fitting) > 1:
        first = made[fitting[0]]
        notes.append(
            f"{len(fitting)} comparisons fit the primary one ({named}): the first of the table "
            f"counts, {first.a.cell} - {first.b.cell}; the others are exploratory"
        )
    return fitting[0]


def _table(made: Sequence[_Pair], chosen: int | None) -> pl.DataFrame:
    others = [i for i in range(len(made)) if i != chosen]
    adjusted = holm([made[i].result.p for i in others])
    p_holm = dict(zip(others, adjusted, strict=True))
    rows = [_row(p, i == chosen, p_holm.get(i, p.result.p)) for i, p in enumerate(made)]
    frame = pl.DataFrame(rows, schema=dict(COMPARISONS)).with_columns(
        pl.col("low", "high", "detectable").fill_nan(None)
    )
    keys = ["benchmark", "metric", "budget", "base_model", "loss", "a", "b"]
    return frame.sort("primary", *keys, descending=[True] + [False] * len(keys), nulls_last=True)


def _row(pair: _Pair, primary: bool, p_holm: float) -> dict[str, Any]:
    row, result = pair.a.row, pair.result
    return {
        "a": pair.a.cell,
        "b": pair.b.cell,
        "primary": primary,
        **{name: row[name] for name in ("benchmark", "metric", "budget", "base_model", "loss")},
        "difference": result.difference,
        "low": result.low,
        "high": result.high,
        "p": result.p,
        "p_holm": p_holm,
        "replicates": result.replicates,
        "detectable": result.detectable,
    }
