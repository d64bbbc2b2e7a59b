"""What the crowd answered to the best chosen rows, and what each answer scored."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.stages.select.kept_answers import Answers
from crowdselect_core.stages.select.metrics import score_arrays

MOST_ROWS = 200  # chosen rows whose other answers are read
DIGITS = 5  # of a score

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CrowdAnswers:
    """The answers of the crowd to N rows, the M models in name order.

    Args:
        texts: the complete answers, null where there is none.
        by_reward: each reward model's scores, N x M, NaN where missing.
    """

    texts: list[list[str | None]]
    by_reward: dict[str, Floats]

    @property
    def rounded(self) -> list[list[list[float | None]]]:
        """The scores by row, reward model and model, with DIGITS significant digits."""
        rows = len(self.texts)
        return [
            [
                [
                    float(f"{s:.{DIGITS}g}") if np.isfinite(s) else None
                    for s in scores_NM[i].tolist()
                ]
                for scores_NM in self.by_reward.values()
            ]
            for i in range(rows)
        ]


def read(config: SelectConfig, answers: Answers) -> CrowdAnswers:
    """Return every model's answer to some rows.

    Args:
        config: the crowd and the reward models.
        answers: of the rows.
    """
    rows, models = len(answers.ids), range(len(answers.models))
    found: dict[tuple[int, int], str | None] = {}
    if answers.dataset.layout.answers:
        found = answers.complete({m: np.arange(rows) for m in models})
    return CrowdAnswers(
        [[found.get((i, m)) for m in models] for i in range(rows)],
        score_arrays(answers.rows, config.models, config.reward_names, shown=True),
    )


def of_best(chosen: pl.DataFrame) -> pl.Series:
    """Return the ids of the chosen rows that are read."""
    return chosen["instruction_id"].head(MOST_ROWS)
