"""What a user must know of a selection from a data set that lacks instructions or answers."""

from collections.abc import Mapping
from typing import Any

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.stages.refs import SelectionArtifacts

NO_CLUSTERS = "no instruction texts to embed: selecting without clusters, as with --clusters 0"


def no_texts_note(facts: Mapping[str, Any]) -> str | None:
    """Say what is not written for want of answers or instruction texts; None where both are there.

    Args:
        facts: of the artifact `instructions`.
    """
    instructions, answers = bool(facts["instructions"]), bool(facts["answers"])
    if instructions and answers:
        return None
    what = "answers" if instructions else "instruction texts"
    lacks = "no prompts" if answers else "no texts"
    return f"no {what} in the data set: selection.parquet has {lacks}, train.jsonl is not written"


def has_answers(inputs: SelectionArtifacts) -> bool:
    """Tell whether the data set has answers, and so a kept one of each chosen row."""
    return bool(inputs.instructions.facts["answers"])


def missing_texts(config: SelectConfig, inputs: SelectionArtifacts) -> list[str]:
    """Return a note on each thing that is not done because texts are missing."""
    facts = inputs.instructions.facts
    notes = [note] if (note := no_texts_note(facts)) else []
    if not facts["instructions"] and config.clusters > 1 and inputs.clusters is None:
        notes.append(NO_CLUSTERS)
    return notes
