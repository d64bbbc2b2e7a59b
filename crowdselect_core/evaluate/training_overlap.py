"""Whether the training rows hold what the models are measured by.

Compared are the user turns of both. Held-out prompts: near-duplicates (`quality.near_duplicates`),
which leave a selection by themselves, and are refused in a file of training rows. Prompts of
benchmarks: n-grams of words (`quality.decontamination`), which are counted and told.
"""

from collections.abc import Mapping, Sequence

import polars as pl

from crowdselect_core.config.finetune import TrainingConfig
from crowdselect_core.errors import ConfigError, shown
from crowdselect_core.evaluate.benchmarks.command import Command
from crowdselect_core.evaluate.benchmarks.lm_eval import LmEval
from crowdselect_core.evaluate.live import Benchmark, Question
from crowdselect_core.finetune.data import rows_of
from crowdselect_core.finetune.pair_rows import PairRows
from crowdselect_core.quality.decontamination import NGRAM, SHORTEST, overlaps
from crowdselect_core.quality.near_duplicates import near_duplicates_among

NAMED = 5  # rows that an error names


def trained_prompts(
    training: TrainingConfig, selected: pl.DataFrame | None
) -> tuple[Sequence[str], list[str]]:
    """Return the ids of the training rows, and their user turns as one text a row.

    Args:
        training: the recipe.
        selected: see `finetune.data.rows_of`.

    Raises:
        UserError: the rows cannot be read.
    """
    rows = rows_of(training, selected)
    prompts = rows.prompts if isinstance(rows, PairRows) else rows.messages
    return rows.ids, [_asked(messages) for messages in prompts]


def refuse_heldout(training: TrainingConfig, heldout: pl.DataFrame) -> None:
    """Refuse a file of training rows that holds a held-out prompt, or a near-duplicate of one.

    Args:
        training: the recipe, with train_file.
        heldout: columns messages.

    Raises:
        ConfigError: names the rows.
    """
    ids, texts = trained_prompts(training, None)
    near_N = near_duplicates_among(texts, prompts_of(heldout))
    found = [name for name, place in zip(ids, near_N.tolist(), strict=True) if place >= 0]
    if found:
        raise ConfigError(
            f"training.train_file {str(training.train_file)!r}: {len(found):,} of its {len(ids):,} "
            f"rows hold a held-out prompt or a near-duplicate of one ({shown(found, NAMED)}), so "
            "that a loss on the held-out rows would say nothing: leave these rows out of the file, "
            "or hold other rows out (heldout.file)"
        )


def notes_on(
    training: TrainingConfig,
    selected: pl.DataFrame | None,
    benchmarks: Sequence[Benchmark],
    heldout: pl.DataFrame | None,
) -> list[str]:
    """Say how many training rows overlap prompts of benchmarks or held-out ones.

    Args:
        training: the recipe.
        selected: see `finetune.data.rows_of`.
        benchmarks: of the evaluation.
        heldout: columns messages; None without held-out rows.

    Raises:
        UserError: the rows cannot be read.
    """
    _, texts = trained_prompts(training, selected)
    asked = [(b.name, turns_of(b.questions)) for b in benchmarks]
    inside = {b.name: b.file_prompts() for b in benchmarks if isinstance(b, LmEval)}
    inside |= {b.name: None for b in benchmarks if isinstance(b, Command)}
    asked += [(name, prompts) for name, prompts in inside.items() if prompts is not None]
    if heldout is not None:
        asked.append(("held-out rows", prompts_of(heldout)))
    unknown = [name for name, prompts in inside.items() if prompts is None]
    return [*overlap_notes(texts, asked), *(unknown_note(name) for name in unknown)]


def overlap_notes(texts: Sequence[str], asked: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    """Say of every benchmark how many training rows overlap its prompts; nothing where none does.

    Args:
        texts: of the training rows.
        asked: by name of the benchmark, its prompts.
    """
    notes = []
    for name, prompts in asked:
        found = overlaps(texts, prompts)
        if found:
            met = len({overlap.prompt for overlap in found})
            notes.append(
                f"{name}: {len(found):,} of {len(texts):,} training rows overlap {met:,} of its "
                f"{len(prompts):,} prompts ({NGRAM} words in a row, or a whole prompt of "
                f"{SHORTEST} to {NGRAM - 1} words): results of the trained model may be too high; "
                "quality.decontamination leaves such rows out"
            )
    return notes


def unknown_note(name: str) -> str:
    """Say that the prompts of a benchmark are not known here."""
    return (
        f"{name}: its prompts are not known here, so that an overlap with the training rows was "
        "not looked for"
    )


def prompts_of(heldout: pl.DataFrame) -> list[str]:
    """Return the user turns of held-out rows (column messages) as one text a row."""
    return [_asked(messages) for messages in heldout["messages"].to_list()]


def turns_of(questions: Sequence[Question]) -> list[str]:
    """Return the user turns of questions, each a prompt of its own."""
    return [
        text
        for question in questions
        for text in (*(t for role, t in question.history if role == "user"), *question.turns)
    ]


def _asked(messages: Sequence[Mapping[str, str]]) -> str:
    """Return the user turns, joined by blank lines."""
    return "\n\n".join(m["content"] for m in messages if m["role"] == "user")
