"""Every model's answer to one row: its scores, its text, how it ended, and which one is kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from crowdselect_core.config.crowd import CrowdModel
from crowdselect_core.config.response_mode import ResponseMode
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.ingest.reader import Leaf
from crowdselect_core.ingest.values import is_complete
from crowdselect_core.stages.select.answers import mode_of
from crowdselect_core.stages.select.kept_answers import Answers, kept
from crowdselect_core.tables import score_column, shown_column
from crowdselect_core.util.finish_reasons import normalise_finish_reason


@dataclass(frozen=True)
class CrowdAnswer:
    """One model's answer.

    Args:
        model: whose it is; the student's too.
        score: what answers are compared by, combined from all reward models; None without one, and
            of the student.
        scores: of each reward model, the mean where the model has several samples.
        shown: of several samples, the scores of the one whose text is shown.
        text: of the answer; None where there is none.
        ending: the finish reason, None where it is not known.
        complete: whether it may be kept; None where texts are not read.
    """

    model: CrowdModel
    score: float | None
    scores: Mapping[str, float | None]
    shown: Mapping[str, float | None] = field(default_factory=dict)
    text: str | None = None
    ending: str | None = None
    complete: bool | None = None


@dataclass(frozen=True)
class Kept:
    """The answer that is kept of a row, or would be if it were chosen.

    Args:
        model: whose; None where no answer may be kept.
        why: the rule.
        chosen: whether the row is chosen.
    """

    model: str | None
    why: str
    chosen: bool


def crowd_answers(
    config: SelectConfig, answers: Answers, scores: pl.DataFrame, *, texts: bool
) -> tuple[CrowdAnswer, ...]:
    """Return every model's answer to one row, in name order.

    Args:
        config: the crowd and the reward models.
        answers: to that row.
        scores: its row of the scores.
        texts: whether texts are read.
    """
    row, rewards = scores.row(0, named=True), config.reward_names
    combined = dict(zip(answers.models, answers.shown_NM[0].tolist(), strict=True))
    found = _texts(answers) if texts else {}
    made = []
    for model in answers.dataset.everyone:
        score = combined.get(model.name, float("nan"))
        text, ending, complete = found.get(model.name, (None, None, None))
        single = {r: shown_column(r, model.name) for r in rewards}
        made.append(
            CrowdAnswer(
                model=model,
                score=None if np.isnan(score) else score,
                scores={r: row.get(score_column(r, model.name)) for r in rewards},
                shown={r: row[name] for r, name in single.items() if name in row},
                text=text,
                ending=ending,
                complete=complete,
            )
        )
    return tuple(made)


def kept_answer(
    config: SelectConfig, answers: Answers, selected: Sequence[Mapping[str, Any]], *, texts: bool
) -> Kept:
    """Return whose answer is kept, and by which rule.

    Args:
        config: how the answer is chosen.
        answers: to that row.
        selected: its row of the selection, where it is chosen.
        texts: whether texts may be read; without, nothing is known of a row that is not chosen.
    """
    why = _rule(mode_of(config), config)
    if selected:
        return Kept(selected[0]["response_model"], why, chosen=True)
    if not texts or not answers.dataset.layout.answers:
        return Kept(None, "not known without the answers' texts", chosen=False)
    kept_N, _ = kept(config, answers)
    place = int(kept_N[0])
    if place < 0:
        return Kept(None, "no complete answer", chosen=False)
    return Kept(answers.models[place], why, chosen=False)


def _rule(mode: ResponseMode, config: SelectConfig) -> str:
    if mode.kind == "named":
        return "response names this model"
    among = "complete answers"
    if len(mode.models) < len(config.models):
        among += f" of the {len(mode.models)} models that response names"
    if mode.kind == "random":
        return f"drawn at random among the {among} (seed {config.seed})"
    if mode.kind == "random-of-top-5":
        return f"drawn at random among the 5 best {among} (seed {config.seed})"
    return f"the highest score among the {among}, ties by model name"


def _texts(answers: Answers) -> dict[str, tuple[str | None, str | None, bool]]:
    """Return text, finish reason and completeness of the answers to the first row, by model."""
    dataset, layout = answers.dataset, answers.dataset.layout
    row = int(answers.rows["source_row"][0])
    leaves = [*layout.answers.values(), *layout.finish_reasons.values()]
    read: dict[tuple[int, Leaf], str | None] = {}
    for part in answers.partitions:
        if part.first_row <= row < part.first_row + part.rows:
            at = np.array([row], dtype=np.int64)
            read |= dataset.texts(part, dict.fromkeys(leaves, at))
    found = {}
    for model in dataset.everyone:
        answer, end = layout.answers.get(model.name), layout.finish_reasons.get(model.name)
        if answer is None:
            continue
        text = dataset.answer(read.get((row, answer)))
        reason = normalise_finish_reason(read.get((row, end)) if end else None)
        complete = text is not None and bool(text.strip()) and is_complete(reason)
        found[model.name] = (text, reason.name, complete)
    return found
