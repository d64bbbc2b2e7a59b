"""Answers and scores in columns of their own: `llama-70b_response`, `llama-70b_score`.

A column is MODEL, a separator and what it holds: a word for the answer, the name of a reward model,
or `finish_reason`. A name that could mean two things is refused.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from crowdselect_core.errors import DatasetError, nearest, shown
from crowdselect_core.ingest.columns import is_number

SEPARATORS = ("_", "/", ".", "-", ":")
ANSWER_WORDS = ("response", "answer", "output")
SCORE = "score"
END = "finish_reason"


@dataclass(frozen=True)
class FlatColumns:
    """The columns of the models of a flat table, by model; of scores by (reward model, model)."""

    answers: Mapping[str, str]
    scores: Mapping[tuple[str, str], str]
    ends: Mapping[str, str]


def answer_words(columns: Mapping[str, str]) -> tuple[str, ...]:
    """Return what the names of columns of answers end with; `content` of the config sets it."""
    return (columns["content"],) if "content" in columns else ANSWER_WORDS


def holds_answers(name: str, names: Collection[str]) -> bool:
    """Tell a column of answers by its name, beside a score of the same model.

    Without a score it may be that of a model whose own name ends so, in a table of scores alone.
    """
    ends = (f"{sep}{word}" for sep in SEPARATORS for word in ANSWER_WORDS)
    models = [name.removesuffix(end) for end in ends if name.endswith(end)]
    others = [other for other in names if other != name]
    return any(
        other.startswith(f"{model}{sep}")
        for model in models
        for sep in SEPARATORS
        for other in others
    )


def flat_names(names: Collection[str], model: str, words: Sequence[str]) -> list[str]:
    """Return the columns MODEL, separator, word that there are."""
    wanted = (f"{model}{sep}{word}" for word in words for sep in SEPARATORS)
    return [name for name in wanted if name in names]


def is_flat(
    names: Collection[str], models: Sequence[str], words: Sequence[str], rewards: Sequence[str]
) -> bool:
    """Tell a flat table: some model without a column of its own has columns of answers or scores.

    Args:
        names: the columns.
        models: the crowd's.
        words: for the answers.
        rewards: the reward models.
    """
    wanted = [*words, SCORE, *rewards]
    return any(m not in names and flat_names(names, m, wanted) for m in models)


def find_flat(
    schema: pa.Schema,
    names: Collection[str],
    models: Sequence[str],
    words: Sequence[str],
    rewards: Sequence[str],
    where: str,
) -> FlatColumns:
    """Find the columns of answers, scores and finish reasons of every model.

    Args:
        schema: the table's.
        names: the columns that may be a model's.
        models: the crowd's.
        words: for the answers.
        rewards: the reward models.
        where: the data set, for errors.

    Raises:
        DatasetError: a column fits two models or uses, two columns fit one, a model has a column of
            its own, or no model has scores of a reward model.
    """
    _refuse_own_columns(names, models, [*words, SCORE, *rewards], where)
    answers = {m: c for m in models if (c := _one(names, m, words, where))}
    ends = {m: c for m in models if (c := _one(names, m, [END], where))}
    scores = {(r, m): c for r in rewards for m in models if (c := _one(names, m, [r], where))}
    _refuse_twice(
        [*answers.items(), *ends.items(), *((m, c) for (_, m), c in scores.items())], where
    )
    for reward in rewards:
        if not any((reward, m) in scores for m in models):
            known = _known_rewards(schema, names, models)
            raise DatasetError(
                f"{where}: no crowd model has scores of the reward model {reward!r}"
                f"{nearest(reward, known)} (found: {shown(known) or 'none'}); it is what the names "
                "of the score columns end with"
            )
    return FlatColumns(answers, scores, ends)


def _one(names: Collection[str], model: str, words: Sequence[str], where: str) -> str | None:
    """Return the only column that fits, None where none does."""
    found = flat_names(names, model, words)
    if len(found) > 1:
        raise DatasetError(
            f"{where}: the columns {shown(found)} all fit the crowd model {model!r} as its "
            f"{' or '.join(words)}; keep one of them, or rename the others"
        )
    return found[0] if found else None


def _refuse_twice(pairs: Sequence[tuple[str, str]], where: str) -> None:
    """Refuse a column that means two things."""
    owners: dict[str, str] = {}
    for model, column in pairs:
        if column in owners:
            of = shown(sorted({owners[column], model}))
            raise DatasetError(
                f"{where}: the column {column!r} fits twice (crowd models: {of}); rename it, or "
                "give every model a struct column (docs/data.md)"
            )
        owners[column] = model


def _refuse_own_columns(
    names: Collection[str], models: Sequence[str], words: Sequence[str], where: str
) -> None:
    """Refuse a model with a column of its name beside models with flat columns."""
    own = [m for m in models if m in names]
    if not own:
        return
    others = next((c for m in models if m not in own for c in flat_names(names, m, words)), None)
    beside = f", and another has flat columns such as {others!r}" if others else ""
    raise DatasetError(
        f"{where}: the crowd model {own[0]!r} has a column of its own name{beside}; give all "
        "models the same form, or rename the column"
    )


def _known_rewards(schema: pa.Schema, names: Collection[str], models: Sequence[str]) -> list[str]:
    """Return what the names of the models' columns of numbers end with."""
    starts = [f"{m}{sep}" for m in models for sep in SEPARATORS]
    numbers = [n for n in names if is_number(schema.field(n).type)]
    return sorted({n.removeprefix(s) for n in numbers for s in starts if n.startswith(s)})
