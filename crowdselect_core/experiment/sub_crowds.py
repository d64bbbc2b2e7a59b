"""Parts of a crowd, and what they cost."""

from collections.abc import Mapping
from dataclasses import dataclass

FEWEST = 2  # models: one has no separability and no stability


@dataclass(frozen=True)
class Prices:
    """What a row costs, in one unit.

    Attributes:
        answer: per crowd model, of one row.
        score: per reward model, of one answer.
        unit: "tokens", "$", ...
    """

    answer: Mapping[str, float]
    score: Mapping[str, float]
    unit: str


@dataclass(frozen=True)
class SubCrowd:
    """Models and reward models, in name order."""

    models: tuple[str, ...]
    reward_models: tuple[str, ...]


def cost(crowd: SubCrowd, prices: Prices, rows: int) -> float:
    """Return what a sub-crowd costs: every model answers every row, each answer is scored."""
    answers = sum(prices.answer[m] for m in crowd.models)
    scores = len(crowd.models) * sum(prices.score[k] for k in crowd.reward_models)
    return rows * (answers + scores)


def smaller(crowd: SubCrowd) -> list[tuple[str, SubCrowd]]:
    """Return every sub-crowd with one model or one reward model less, and what it lacks."""
    found = []
    if len(crowd.models) > FEWEST:
        for name in crowd.models:
            left = tuple(m for m in crowd.models if m != name)
            found.append((name, SubCrowd(left, crowd.reward_models)))
    if len(crowd.reward_models) > 1:
        for name in crowd.reward_models:
            rest = tuple(k for k in crowd.reward_models if k != name)
            found.append((f"reward model {name}", SubCrowd(crowd.models, rest)))
    return found
