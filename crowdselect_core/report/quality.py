"""What the quality gates found: counts and examples, as plain JSON values and as lines."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from crowdselect_core.config.quality import required
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.selection.eligibility import GATE_CODES, reason_code
from crowdselect_core.stages.quality.contamination import EMBEDDING
from crowdselect_core.stages.quality.gated import failures
from crowdselect_core.stages.refs import GateArtifacts, RowArtifacts
from crowdselect_core.stages.select.kept_answers import answer_reader
from crowdselect_core.store.artifacts import Store
from crowdselect_core.util.text import excerpt, plural

EXAMPLES = 3  # of each gate, by instruction_id

Report = dict[str, Any]


def gate_report(
    config: SelectConfig, store: Store, inputs: RowArtifacts, *, texts: bool = True
) -> Report | None:
    """Count the rows that each gate refuses, and show some; None without gates.

    `candidates` are the rows that could be chosen without the gates, `passed` those that may with
    them. Of each gate: `fails` counts the candidates that it refuses, whatever the others do;
    `removed` those of which it is the reason, being the first that refuses them.

    Args:
        config: the gates.
        store: where the artifacts are.
        inputs: the artifacts of the run.
        texts: whether instructions may be read from the data set, for examples of duplicates and
            of similar embeddings.
    """
    gates = inputs.gates
    if gates is None:
        return None
    open_ = pl.col("answerable") & pl.col("barred").is_null()
    candidates = gates.candidates.open(store).frame().filter(open_).select("instruction_id")
    answers = inputs.answers.open(store).frame()
    failed = failures(store, gates.row_filters, gates.contamination)
    failed = failed.join(candidates, on="instruction_id", how="semi")
    codes = answers.join(candidates, on="instruction_id", how="semi")
    removed = dict(codes.select(reason_code(pl.col("barred")))["barred"].value_counts().iter_rows())
    found: dict[str, Report] = {}
    for gate in required(config.quality).gates:
        own = failed.filter(pl.col("gate") == gate)
        found[gate] = {
            "fails": own["instruction_id"].n_unique(),
            "removed": int(removed.get(GATE_CODES[gate], 0)),
        }
        if gate == "decontamination":
            found[gate] |= _contamination(config, store, inputs, gates, candidates, texts=texts)
        elif gate == "duplicates":
            found[gate] |= _duplicates(config, store, inputs, answers, texts=texts)
        else:
            found[gate]["examples"] = _examples(store, gates, gate, candidates)
    return {
        "key": inputs.answers.key,
        "candidates": candidates.height,
        "passed": answers.filter(open_).height,
        "gates": found,
    }


def gate_lines(told: Mapping[str, Any] | None) -> list[str]:
    """Say in lines how many rows each gate refuses."""
    if told is None:
        return []
    lines = [f"{told['passed']:,} of {plural(told['candidates'], 'row')} pass all gates"]
    for gate, found in told["gates"].items():
        line = f"{gate}: {found['removed']:,} removed"
        if found["fails"] != found["removed"]:
            line += f", {found['fails']:,} fail it"
        for name in ("by_kind", "by_benchmark"):
            if parts := found.get(name):
                line += f" ({', '.join(f'{key} {n:,}' for key, n in parts.items())})"
        lines.append(line)
    return lines


def _examples(
    store: Store, gates: GateArtifacts, gate: str, candidates: pl.DataFrame
) -> list[Report]:
    if gates.row_filters is None:
        return []
    table = gates.row_filters.open(store).frame().filter(pl.col("gate") == gate)
    table = table.join(candidates, on="instruction_id", how="semi").sort("instruction_id")
    return [
        {"instruction_id": row["instruction_id"], "why": row["detail"],
         "instruction": row["instruction"], "response": row["response"]}
        for row in table.head(EXAMPLES).iter_rows(named=True)
    ]  # fmt: skip


def _contamination(
    config: SelectConfig, store: Store, inputs: RowArtifacts, gates: GateArtifacts,
    candidates: pl.DataFrame, *, texts: bool,
) -> Report:  # fmt: skip
    """Tell of every row the match that is its reason: one of words before one of embeddings."""
    if gates.contamination is None:
        return {}
    table = gates.contamination.open(store).frame()
    table = table.join(candidates, on="instruction_id", how="semi")
    table = table.sort("instruction_id", pl.col("kind") == EMBEDDING)
    first = table.unique("instruction_id", keep="first", maintain_order=True)

    def counted(column: str) -> dict[str, int]:
        return dict(sorted(first[column].value_counts().iter_rows()))

    examples = first.head(EXAMPLES).to_dicts()
    if untold := [e for e in examples if texts and e["instruction"] is None]:
        ids = pl.Series("instruction_id", [e["instruction_id"] for e in untold])
        text_of = _instructions(config, store, inputs, ids)
        for example in untold:
            example["instruction"] = excerpt(text_of[example["instruction_id"]] or "")
    return {
        "by_benchmark": counted("benchmark"),
        "kinds": counted("kind"),
        "examples": examples,
    }


def _duplicates(
    config: SelectConfig, store: Store, inputs: RowArtifacts, answers: pl.DataFrame, *,
    texts: bool,
) -> Report:  # fmt: skip
    """Tell of the groups, of the rows that leave by the strictest kind, and of some pairs."""
    groups = inputs.duplicate_groups
    rows = answers.filter(pl.col("duplicate_of").is_not_null()).sort("instruction_id")
    kinds = dict(rows["duplicate_kind"].value_counts().iter_rows())
    shown = rows.unique("duplicate_of", keep="first", maintain_order=True).head(EXAMPLES)
    pairs = shown.select("instruction_id", "duplicate_of", pl.col("duplicate_kind").alias("kind"))
    examples = pairs.to_dicts()
    if texts and examples:
        ids = pl.concat([pairs["instruction_id"], pairs["duplicate_of"].alias("instruction_id")])
        text_of = _instructions(config, store, inputs, ids.unique().sort())
        for example in examples:
            example["instruction"] = excerpt(text_of[example["instruction_id"]] or "")
            example["kept"] = excerpt(text_of[example["duplicate_of"]] or "")
    return {
        "fails": rows.height,
        "groups": dict(groups.counts) if groups else {},
        "by_kind": {kind: int(kinds[kind]) for kind in _kinds(config) if kind in kinds},
        "examples": examples,
    }


def _instructions(
    config: SelectConfig, store: Store, inputs: RowArtifacts, ids: pl.Series
) -> dict[str, str | None]:
    """Return the instructions of rows, by id."""
    reader = answer_reader(config, store, inputs.scores, inputs.metrics)
    return dict(zip(ids.to_list(), reader.of(ids).instructions(), strict=True))


def _kinds(config: SelectConfig) -> list[str]:
    gate = required(config.quality).duplicates
    return gate.kinds if gate else []
