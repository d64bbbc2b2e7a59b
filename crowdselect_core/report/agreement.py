"""How far the reward models of a run agree, with each other and with the length of answers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from crowdselect_core.metrics.reward_agreement import agreement as compare
from crowdselect_core.stages.crowd.zoo import Member
from crowdselect_core.store.artifacts import Store

MOST_ROWS = 20_000  # instructions that are compared, the first ones; the summary says so


def agreement(store: Store, members: Sequence[Member]) -> dict[str, Any]:
    """Compare the main scores of all reward models over the first instructions.

    Returns:
        What `metrics.reward_agreement.agreement` returns, and `instructions`: how many were
        compared.
    """
    lengths: list[np.ndarray[Any, np.dtype[np.float64]]] = []
    by_reward: dict[str, list[np.ndarray[Any, np.dtype[np.float64]]]] = {}
    for member in members:
        lengths.append(_first(store, member.answered.responses, pl.col("characters")))
        for scored in member.scored:
            main = pl.col("scores").list.get(0, null_on_oob=True)
            by_reward.setdefault(scored.reward, []).append(_first(store, scored.rewards, main))
    scores = {name: np.column_stack(columns) for name, columns in by_reward.items()}
    found = compare(scores, np.column_stack(lengths))
    return found | {"instructions": len(lengths[0])}


def _first(store: Store, ref: Any, value: pl.Expr) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return a number per instruction, the mean over its samples."""
    parts: list[pl.DataFrame] = []
    rows = 0
    for frame in ref.open(store).frames():
        means = frame.group_by("instruction_id", maintain_order=True).agg(
            value.cast(pl.Float64).mean().alias("value")
        )
        parts.append(means)
        rows += means.height
        if rows >= MOST_ROWS:
            break
    column = pl.concat(parts)["value"].head(MOST_ROWS)
    return column.fill_null(float("nan")).to_numpy()


def agreement_lines(found: dict[str, Any]) -> list[str]:
    """Format the comparison for the console and the UI."""
    lines = [
        f"{p['a']} and {p['b']}: rank correlation {_text(p['spearman'])}, within an instruction "
        f"{_text(p['within_instruction'])}, of difficulty {_text(p['difficulty'])}"
        for p in found["pairs"]
    ]
    lines += [
        f"{one['reward_model']} and the length of answers: rank correlation "
        f"{_text(one['spearman'])}, within an instruction {_text(one['within_instruction'])}"
        for one in found["length"]
    ]
    if found["spread"] is not None:
        lines.append(f"spread of the reward models' z-scores: {found['spread']:.2f}")
    return lines


def _text(rho: float | None) -> str:
    return "undefined" if rho is None else f"{rho:.2f}"
