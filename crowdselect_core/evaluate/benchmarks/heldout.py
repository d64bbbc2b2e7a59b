"""The held-out rows of a run, as the benchmarks read them out of the store."""

from collections.abc import Iterator
from typing import Any

from crowdselect_core.chat import Message
from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.errors import ConfigError, EvaluationError
from crowdselect_core.evaluate.heldout_loss import HeldOutAnswer
from crowdselect_core.evaluate.live import Question, Tools

ROWS, ANSWERS = "heldout", "heldout-answers"  # stages


def check(where: str, config: EvaluateConfig, *, answers: bool) -> None:
    """Find out beforehand whether a run has held-out rows.

    Args:
        where: the benchmark, for messages.
        config: of the run.
        answers: whether answers to them are needed.

    Raises:
        ConfigError: it has none, or it says nobody whose answers count.
    """
    if config.dataset is None or config.heldout is None:
        what = "dataset" if config.dataset is None else "heldout"
        raise ConfigError(
            f"{where}: needs held-out rows, and the config has no key {what}: set dataset, and "
            "heldout: {share: 0.1, answers: best}"
        )
    if answers and config.heldout.answers is None:
        raise ConfigError(
            f"{where}: heldout.answers is empty: name whose answers the loss is taken on, a crowd "
            "model, a text column of the data set, or best"
        )


def answered_rows(where: str, tools: Tools, limit: int | None) -> tuple[list[HeldOutAnswer], int]:
    """Return the held-out rows that have an answer, in order, and how many have none.

    Raises:
        EvaluationError: none has one.
    """
    found: list[HeldOutAnswer] = []
    without = 0
    for row_id, messages, answer in _rows(tools, ANSWERS, ["instruction_id", "messages", "answer"]):
        if answer is None:
            without += 1
        elif limit is None or len(found) < limit:
            found.append(HeldOutAnswer(row_id, messages, answer))
    if not found:
        raise EvaluationError(
            f"{where}: none of the {without:,} held-out rows has an answer of "
            f"{tools.config.heldout and tools.config.heldout.answers}: name somebody else in "
            "heldout.answers"
        )
    return found, without


def questions(tools: Tools, limit: int | None, temperature: float, most: int) -> list[Question]:
    """Return the held-out prompts as questions."""
    found: list[Question] = []
    for row_id, messages in _rows(tools, ROWS, ["instruction_id", "messages"]):
        if limit is None or len(found) < limit:
            found.append(question_of(row_id, messages, temperature, most))
    return found


def question_of(
    row_id: str,
    messages: list[Message],
    temperature: float,
    most: int,
    category: str | None = None,
) -> Question:
    """Return the question that a prompt's last turn asks; the turns before are its history."""
    history = tuple((m["role"], m["content"]) for m in messages[:-1])
    return Question(row_id, (messages[-1]["content"],), temperature, most, category, history)


def _rows(tools: Tools, stage: str, columns: list[str]) -> Iterator[tuple[Any, ...]]:
    if stage not in tools.artifacts:
        raise TypeError(f"the run gave no artifact of the stage {stage}")
    for frame in tools.store.open(stage, tools.artifacts[stage]).frames(columns):
        yield from frame.select(columns).iter_rows()
