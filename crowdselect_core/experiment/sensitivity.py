"""How much of a choice stays when a weight, a model, a family or a reward model is another."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import polars as pl

from crowdselect_core.experiment.choices import Choice
from crowdselect_core.experiment.overlaps import chance, jaccard, shared_rows, strata_of
from crowdselect_core.experiment.pilot import Pilot, chosen, metrics_of, ranked_by
from crowdselect_core.selection.candidates import Candidates
from crowdselect_core.tables import Columns

SENSITIVITY: Columns = {
    "kind": pl.String,  # weights, model, family, reward model
    "change": pl.String,  # the other weights, or what is left out
    "eligible": pl.Int64,  # rows that could then be chosen
    "rows": pl.Int64,  # that are then chosen: fewer than the budget where too few are eligible
    "kept": pl.Float64,  # share of the original choice that is chosen still, 0..1
    "expected": pl.Float64,  # the same of a random choice of as many rows
    "jaccard": pl.Float64,  # rows of both / rows of either, 0..1
}


class _Variant(NamedTuple):
    kind: str
    change: str
    ranked: Candidates


def sensitivity(pilot: Pilot, weights: Sequence[Sequence[float]] = ()) -> pl.DataFrame:
    """Choose anew with other weights, without each model, each family and each reward model.

    What cannot be left out (the only model, family or reward model) is not among the rows.

    Output columns: SENSITIVITY; the weights in the order given, then models, families and reward
    models, each in name order.

    Args:
        pilot: what is chosen from, with the weights and the budget of the original choice.
        weights: others to try, each as `integrate` takes them.

    Raises:
        ConfigError: weights that are none.
    """
    models, rewards = pilot.models, sorted(pilot.scores_by_reward)
    base = ranked_by(pilot, metrics_of(pilot, models, rewards))
    original = Choice("original", 0, pilot.budget, chosen(pilot, base), base)
    rows = [_row(pilot, original, v) for v in _variants(pilot, models, rewards, weights)]
    return pl.DataFrame(rows, schema=dict(SENSITIVITY), orient="row")


def _variants(
    pilot: Pilot, models: list[str], rewards: list[str], weights: Sequence[Sequence[float]]
) -> Iterator[_Variant]:
    if weights:
        metrics = metrics_of(pilot, models, rewards)
        for other in weights:
            name = ",".join(f"{w:g}" for w in other)
            yield _Variant("weights", name, ranked_by(pilot, metrics, other))
    family_of = {m.name: m.family for m in pilot.crowd if m.role == "crowd"}
    for kind, without in (
        ("model", {name: {name} for name in models}),
        ("family", {f: {m for m in models if family_of[m] == f} for f in family_of.values()}),
    ):
        for name in sorted(without):
            if left := [m for m in models if m not in without[name]]:
                yield _Variant(kind, name, ranked_by(pilot, metrics_of(pilot, left, rewards)))
    for name in rewards:
        if others := [k for k in rewards if k != name]:
            yield _Variant(
                "reward model", name, ranked_by(pilot, metrics_of(pilot, models, others))
            )


def _row(pilot: Pilot, original: Choice, variant: _Variant) -> tuple[Any, ...]:
    rows_B = chosen(pilot, variant.ranked)
    other = Choice(variant.change, 0, pilot.budget, rows_B, variant.ranked)
    before, shared = len(original.rows_B), shared_rows(original.rows_B, rows_B, len(pilot.ids))
    by_chance = chance(strata_of(original, other))[0]
    return (
        variant.kind,
        variant.change,
        int(variant.ranked.eligible_N.sum()),
        len(rows_B),
        shared / before if before else 0.0,
        by_chance / before if before else 0.0,
        jaccard(shared, before, len(rows_B)),
    )
