"""The reward models: how far they agree, and whether they like long answers."""

from typing import Any

import numpy as np
import polars as pl

from crowdselect_core.metrics.reward_agreement import agreement
from crowdselect_core.report.page.section import PageData, Section
from crowdselect_core.report.page.templating import filled
from crowdselect_core.stages.select.metrics import score_arrays
from crowdselect_core.util.hashed_random import uniform

MOST_ROWS = 4_000  # instructions that are compared
STRONG = 0.3  # a rank correlation with length from which the page warns


def reward_models(data: PageData, room: int) -> Section | None:
    """Show the agreement of each two reward models, and of each with the length of answers."""
    pairs, rows = _pairs(data)
    lengths, answered = _lengths(data)
    if not pairs and not lengths:
        return None
    html = filled(
        "reward_models.html", pairs=pairs, rows=rows, lengths=lengths, answered=answered,
        strong=STRONG, total=data.by_id.height,
    )  # fmt: skip
    return Section("reward-models", "Reward models", html)


def _pairs(data: PageData) -> tuple[list[dict[str, Any]], int]:
    """Compare each two reward models over a random sample of the instructions."""
    config = data.config
    if len(config.reward_names) < 2:
        return [], 0
    ids = data.by_id["instruction_id"]
    order = np.argsort(uniform(ids, config.seed, "agreement"), kind="stable")[:MOST_ROWS]
    wanted = pl.DataFrame({"instruction_id": ids[np.sort(order)]})
    frames = data.inputs.scores.open(data.store).frames()
    frame = pl.concat([f.join(wanted, on="instruction_id", how="semi") for f in frames])
    found = agreement(score_arrays(frame, config.models, config.reward_names))
    return list(found["pairs"]), frame.height


def _lengths(data: PageData) -> tuple[list[dict[str, Any]], int]:
    """Compare scores with the characters of the answers that are read."""
    answers = data.answers
    if answers is None or not any(text for row in answers.texts for text in row):
        return [], 0
    lengths_NM = np.array(
        [[np.nan if text is None else float(len(text)) for text in row] for row in answers.texts]
    )
    found = agreement(answers.by_reward, lengths_NM)
    return [one for one in found["length"] if one["cells"]], len(answers.texts)
