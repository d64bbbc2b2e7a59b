"""The summary of a run as plain JSON values: counts, comparisons, rows with their reasons."""

from typing import Any

import numpy as np
import polars as pl

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.export.ranking_rows import ExplainedRows
from crowdselect_core.export.selection_files import read_manifest
from crowdselect_core.ingest.prompts import BAD_MESSAGES
from crowdselect_core.report.method_cost import method_cost
from crowdselect_core.report.quality import gate_report
from crowdselect_core.selection.explanations import IN_WORDS
from crowdselect_core.stages.missing_texts import missing_texts
from crowdselect_core.stages.refs import SelectionArtifacts
from crowdselect_core.stages.select.answers import UNKNOWN_ENDING
from crowdselect_core.stages.select.kept_answers import answer_reader
from crowdselect_core.stages.select.metrics import STUDENT, difficulty_column, used_reward_models
from crowdselect_core.stages.select.selection import method_label
from crowdselect_core.store import safe_parquet
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.backend.open import open_backend

REASONS = 20  # different reasons of unusable turns that are counted one by one
SHOWN = 3  # rows that were chosen, and rows that were not


def summarise(
    config: SelectConfig,
    store: Store,
    inputs: SelectionArtifacts,
    ranked: ExplainedRows,
    *,
    texts: bool = True,
) -> dict[str, Any]:
    """Gather what the closing summary, the report artifact and OUT/manifest.json show.

    Args:
        config: the resolved config.
        store: where the artifacts are.
        inputs: the artifacts of the run.
        ranked: every row with its place.
        texts: whether the data set is still the one that was chosen from, so that the texts of
            rows may be read there.
    """
    read = inputs.instructions.facts.get("counts", inputs.instructions.counts)
    return {
        "method": method_label(config),
        "rows_in": read.get("rows_in", inputs.instructions.rows),
        "duplicate_rows": read.get("duplicate_rows", 0),
        **_heldout(inputs),
        "missing_scores": inputs.scores.counts.get("missing_scores", 0),
        "eligible": ranked.eligible,
        "ineligible": _most_common(dict(ranked.candidates.ineligible)),
        "quality": gate_report(config, store, inputs, texts=texts),
        "clusters": ranked.chosen_of_clusters() if inputs.clusters else [],
        "chosen": inputs.selection.rows,
        "without_pair": inputs.pairs.counts.get("without_pair", 0) if inputs.pairs else 0,
        "pairs": inputs.pairs.rows if inputs.pairs else 0,
        "cost": method_cost(config, inputs),
        "overlaps": inputs.comparison.open(store).frame().to_dicts(),
        "agreement": _agreement(config, store, inputs),
        "student": _student(config, store, inputs),
        "notes": _notes(config, inputs),
        "changes": _changes(config, store, inputs),
        "shown": _shown(config, store, inputs, ranked, texts=texts),
    }


def in_words(reason: str) -> str:
    """Say why a row is not eligible."""
    return IN_WORDS.get(reason, reason)


def _heldout(inputs: SelectionArtifacts) -> dict[str, dict[str, int]]:
    """Count the rows that are held out, and those that left because they resemble one."""
    if inputs.heldout is None or inputs.heldout_duplicates is None:
        return {}
    near = inputs.heldout_duplicates.rows
    return {"heldout": {"rows": inputs.heldout.rows, "near_duplicates": near}}


def _notes(config: SelectConfig, inputs: SelectionArtifacts) -> list[str]:
    """Gather what the stages warned of, whenever they were computed."""
    used = used_reward_models(config, inputs.metrics)
    left_out = [r for r in config.reward_names if r not in used]
    notes = [f"reward model {r} is not used: its scores are all equal" for r in left_out]
    notes += missing_texts(config, inputs)
    for ref in (inputs.instructions, inputs.ranking, inputs.selection):
        notes += ref.facts.get("notes", [])
    unknown = {n: c for n, c in inputs.answers.counts.items() if n.startswith(UNKNOWN_ENDING)}
    notes += [
        f"{count} answers have the unknown {name!r} and are taken as complete"
        for name, count in unknown.items()
    ]
    return notes


def _most_common(reasons: dict[str, int]) -> dict[str, int]:
    """Keep the reasons apart, of which turns have many; those beyond the commonest are joined."""
    bad = [reason for reason in reasons if reason.startswith(f"{BAD_MESSAGES}: ")]
    rare = sorted(bad, key=lambda reason: (-reasons[reason], reason))[REASONS:]
    kept = {reason: count for reason, count in reasons.items() if reason not in rare}
    if rare:
        kept[f"{BAD_MESSAGES}: {len(rare)} other reasons"] = sum(reasons[r] for r in rare)
    return kept


def _agreement(
    config: SelectConfig, store: Store, inputs: SelectionArtifacts
) -> list[dict[str, Any]]:
    """Give the rank correlation of difficulty between each two reward models."""
    names = config.reward_names
    if len(names) < 2:
        return []
    table = inputs.metrics.open(store).frame([difficulty_column(r) for r in names])
    found = []
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            a, b = difficulty_column(one), difficulty_column(other)
            both = table.drop_nulls([a, b])
            rho = both.select(pl.corr(a, b, method="spearman")).item() if both.height > 1 else None
            known = rho is not None and rho == rho  # NaN where one of them is constant
            found.append({"of": [one, other], "rows": both.height, "rho": rho if known else None})
    return found


def _student(
    config: SelectConfig, store: Store, inputs: SelectionArtifacts
) -> dict[str, Any] | None:
    """Tell how the student does over the rows that have each number; null where none has."""
    if config.student is None:
        return None
    table = inputs.metrics.open(store).frame([STUDENT, "headroom"])
    return {
        "name": config.student.name,
        "scores": table[STUDENT].count(),
        "mean_score": table[STUDENT].mean(),
        "mean_headroom": table["headroom"].mean(),
    }


def _changes(
    config: SelectConfig, store: Store, inputs: SelectionArtifacts
) -> dict[str, int] | None:
    """Count the rows that came and went against the selection that OUT holds from before."""
    place = open_backend(config.out)
    before = read_manifest(place)
    if before is None:
        return None
    stage, _, key = str(before.get("artifacts", {}).get("selection", "")).partition("/")
    if stage != "selection" or key == inputs.selection.key:
        return None
    try:
        old = safe_parquet.decode(place.read("selection.parquet"), ["instruction_id"])
    except (FileNotFoundError, safe_parquet.Unreadable):
        return None  # somebody took the old file away: there is nothing to compare with
    new = inputs.selection.open(store).frame(["instruction_id"])
    came = new.join(old, on="instruction_id", how="anti").height
    return {"came": came, "went": old.height - (new.height - came), "stayed": new.height - came}


def _shown(
    config: SelectConfig,
    store: Store,
    inputs: SelectionArtifacts,
    ranked: ExplainedRows,
    *,
    texts: bool,
) -> dict[str, list[dict[str, Any]]]:
    """Pick rows to show: the best chosen; of the others the nearest miss, a middle and a last."""
    best = ranked.best_rows(SHOWN)
    rows_K = np.concatenate([best, ranked.spread_of_others()])
    table = ranked.at(rows_K)
    instructions: list[str | None] = [None] * table.height
    if texts:
        reader = answer_reader(config, store, inputs.scores, inputs.metrics)
        instructions = reader.of(table["instruction_id"], rows_K).instructions()
    rows = [
        {"instruction_id": row["instruction_id"], "instruction": text, "why": row["reason"]}
        for row, text in zip(table.iter_rows(named=True), instructions, strict=True)
    ]
    return {"chosen": rows[: len(best)], "not_chosen": rows[len(best) :]}
