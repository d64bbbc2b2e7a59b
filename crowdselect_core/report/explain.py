"""Why one row was chosen or not: everything that the store and the data set say of it.

Reads one shard of each table at a time, and of the data set only the row groups that hold the row.
Nothing is generated, scored or computed anew.
"""

from dataclasses import dataclass, field
from typing import Any

from crowdselect_core.config.quality import required
from crowdselect_core.errors import ConfigError, DamagedArtifact, UserError, shown
from crowdselect_core.ingest.stored_zoo import is_artifact
from crowdselect_core.report.explain_answers import CrowdAnswer, Kept, crowd_answers, kept_answer
from crowdselect_core.report.explain_place import Placed, placed, row_of, rows_of
from crowdselect_core.report.explain_source import FoundSelection
from crowdselect_core.report.nearest_ids import nearest_ids
from crowdselect_core.selection.methods.ranked_by import ADDED
from crowdselect_core.stages.graph import INSTRUCTIONS
from crowdselect_core.stages.select.kept_answers import Answers, answer_reader
from crowdselect_core.tables import METRICS, RANKING

HERE = "run `python -m flows.select` with the same keys again"


@dataclass(frozen=True)
class Explanation:
    """What is known of a row.

    Args:
        row_id: its instruction_id.
        found: the selection.
        source: the file and the number of the row in the data set, from 0; None if held out.
        place: where it ranks; None of a row that is held out or left out.
        left_out: why it is not in the ranking.
        numbers: what else the tables have of it, by name.
        gates: per gate that it fails the reason; None without gates.
        kept: the answer that is kept, or would be.
        answers: every model's scores and text, in name order.
        prompt: the turns of its prompt, None where the data set has none.
        no_texts: why there are no texts; None where there are.
    """

    row_id: str
    found: FoundSelection
    source: tuple[str, int] | None = None
    place: Placed | None = None
    left_out: str | None = None
    numbers: dict[str, Any] = field(default_factory=dict)
    gates: dict[str, list[str]] | None = None
    kept: Kept | None = None
    answers: tuple[CrowdAnswer, ...] = ()
    prompt: tuple[dict[str, str], ...] | None = None
    no_texts: str | None = None


def explain(found: FoundSelection, row_id: str) -> Explanation:
    """Gather what is known of one row.

    Args:
        found: the selection.
        row_id: the row's instruction_id.

    Raises:
        ConfigError: no such row (the nearest ids are named), or a part of the selection is gone
            from the store; the message says which command makes it again.
    """
    try:
        return _explained(found, row_id)
    except DamagedArtifact as damage:
        raise ConfigError(f"a part of the selection is missing: {damage}; {HERE}") from None


def _explained(found: FoundSelection, row_id: str) -> Explanation:
    config, store, inputs = found.config, found.store, found.inputs
    place = placed(config, store, inputs, row_id)
    if place is None:
        return _not_ranked(found, row_id)
    scores = row_of(inputs.scores.open(store), row_id)
    if scores is None:
        raise DamagedArtifact(f"{inputs.scores.stage}/{inputs.scores.key} has no row {row_id!r}")
    reader = answer_reader(config, store, inputs.scores, inputs.metrics)
    answers = reader.at(scores)
    no_texts = _why_no_texts(found, answers)
    selected = rows_of(store, inputs.selection, row_id)
    own = scores.row(0, named=True)
    return Explanation(
        row_id=row_id,
        found=found,
        source=(own["source"], own["source_row"]),
        place=place,
        numbers=_numbers(found, place, row_id),
        gates=_gates(found, row_id),
        kept=kept_answer(config, answers, selected, texts=no_texts is None),
        answers=crowd_answers(config, answers, scores, texts=no_texts is None),
        prompt=_prompt(answers) if no_texts is None else None,
        no_texts=no_texts,
    )


def _not_ranked(found: FoundSelection, row_id: str) -> Explanation:
    """Explain a row that is held out; one that is in no table is unknown."""
    store, inputs = found.store, found.inputs
    for row in rows_of(store, inputs.heldout, row_id):
        why = "held out for the evaluation (key heldout), so it is never selected"
        turns = tuple(row["messages"] or ())
        return Explanation(
            row_id, found, (row["source"], row["source_row"]), left_out=why, prompt=turns
        )
    for row in rows_of(store, inputs.heldout_duplicates, row_id):
        other = row["heldout_id"]
        why = f"left out as a near-duplicate of the held-out row {shown([other])}"
        return Explanation(row_id, found, (row["source"], row["source_row"]), left_out=why)
    ids = (f["instruction_id"] for f in inputs.ranking.open(store).frames(["instruction_id"]))
    near = nearest_ids(row_id, ids)
    hint = f"; the nearest are {shown(near)}" if near else ""
    named = shown([row_id]) or "''"
    raise ConfigError(
        f"--explain {named}: none of the {inputs.ranking.rows:,} rows of "
        f"{found.place} has this id{hint}"
    )


def _numbers(found: FoundSelection, place: Placed, row_id: str) -> dict[str, Any]:
    """Return what the ranking and the metrics have beyond the columns of every ranking."""
    known = {*RANKING, *METRICS, *ADDED}
    numbers = {k: v for k, v in place.row.items() if k not in known}
    for row in rows_of(found.store, found.inputs.metrics, row_id):
        numbers |= {k: v for k, v in row.items() if k not in known}
    return numbers


def _gates(found: FoundSelection, row_id: str) -> dict[str, list[str]] | None:
    """Return, per quality gate in order, why the row fails it; empty where it passes."""
    gates = found.inputs.gates
    if gates is None:
        return None
    reasons: dict[str, list[str]] = {g: [] for g in required(found.config.quality).gates}
    for row in rows_of(found.store, gates.row_filters, row_id):
        reasons.setdefault(row["gate"], []).append(row["detail"])
    for row in rows_of(found.store, gates.contamination, row_id):
        value = "" if row["value"] is None else f", {row['value']:.2f}"
        shared = f": {row['shared']}" if row["shared"] else ""
        told = f"{row['benchmark']} {row['item']} ({row['kind']}{value}){shared}"
        reasons.setdefault("decontamination", []).append(told)
    for row in rows_of(found.store, found.inputs.answers, row_id):
        if row.get("duplicate_of") is not None:
            told = f"{row['duplicate_kind']} duplicate of {row['duplicate_of']}, which ranks better"
            reasons.setdefault("duplicates", []).append(told)
    return reasons


def _why_no_texts(found: FoundSelection, answers: Answers) -> str | None:
    """Say why no text can be shown: there is none, or the data set is another one by now."""
    config, inputs = found.config, found.inputs
    layout = answers.dataset.layout
    if not layout.answers and layout.prompt is None:
        return "the data set has scores alone"
    if is_artifact(config.dataset.path):
        return None  # its shards are checked when they are read
    known = {inputs.instructions.key}
    known |= set(inputs.instructions.open(found.store).manifest.inputs.values())
    try:
        same = INSTRUCTIONS.spec(config).key in known
    except UserError as e:
        return str(e)
    return None if same else f"{config.dataset.path} has changed since; {HERE}"


def _prompt(answers: Answers) -> tuple[dict[str, str], ...] | None:
    """Return the turns of the row's prompt."""
    (prompt,) = answers.prompts()
    if prompt is None:
        return None
    if prompt.error is not None:
        (text,) = answers.instructions()
        return ({"role": f"no usable prompt: {prompt.error}", "content": text or ""},)
    return tuple({"role": m["role"], "content": m["content"]} for m in prompt.messages)
