"""The first steps of a selection: the rows that may be chosen, with scores, answers and gates."""

from collections.abc import Sequence

from crowdselect_core.config.quality import required
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.planning import data_check, heldout, preflight
from crowdselect_core.planning.missing_work import find_missing, without_missing
from crowdselect_core.reselection.record import KnownSelection, RowsRun
from crowdselect_core.stages.base import Runner
from crowdselect_core.stages.graph import (
    ANSWERS,
    CONTAMINATION,
    DUPLICATE_GROUPS,
    EMBEDDER,
    EMBEDDINGS,
    GATED,
    INSTRUCTIONS,
    METRICS,
    ROW_FILTERS,
    SCORES,
    SKETCHES,
)
from crowdselect_core.stages.partitions import open_dataset
from crowdselect_core.stages.quality.gated import check_some_left
from crowdselect_core.stages.refs import GateArtifacts, Ref, RowArtifacts
from crowdselect_core.stages.select.embedder import is_fitted
from flows import crowd_steps, method_steps
from tasks.stage_task import run as run_task


def rows(
    config: SelectConfig,
    known: KnownSelection | None = None,
    vectors: Sequence[Ref] = (),
    run: Runner = run_task,
) -> RowsRun:
    """Run the stages up to the rows that may be chosen.

    Args:
        config: what to choose from.
        known: what an earlier selection knows: unchanged files are not read again.
        vectors: earlier embeddings: texts that stand there are not embedded again.
        run: what runs a stage.

    Raises:
        SelectionError: no row passes the gates, and something is to be chosen.
    """
    alone = config.quality is not None and config.quality.only
    if run is run_task and not (alone and required(config.quality).ends_before_ranking):
        method_steps.check(config)
    missing, made, split = find_missing(config), list[Ref](), None
    own = without_missing(config, missing)  # what the data set has by itself
    heldout.check(config, missing)
    if missing:
        data_check.check_size(config, open_dataset(own))  # before answers are paid for
        config, split, made = crowd_steps.zoo(config, missing, known.raw if known else None)
    else:
        preflight.describe_data(config)
    earlier = None if missing or not known else known.raw
    raw = run(INSTRUCTIONS, config, earlier)
    preflight.check_data(config, raw)
    if raw.is_computed:
        clusters = preflight.has_vectors(config, raw.facts["instructions"])
        preflight.check_rows(config, raw.rows, clusters)
    split = split or crowd_steps.split(config, missing, raw, run)
    instructions = raw if missing else split.rows
    scores = run(SCORES, config, instructions)
    metrics = run(METRICS, config, scores)
    answers = run(ANSWERS, config, scores, metrics)
    gates = None
    if config.quality is not None:
        gates = gated(config, (instructions, scores, metrics, answers), vectors, run)
    inputs = RowArtifacts(
        instructions=instructions, scores=scores, metrics=metrics,
        answers=gates.gated if gates else answers,
        heldout=split.heldout, heldout_duplicates=split.duplicates,
        **(gates.refs() if gates else {}),
    )  # fmt: skip
    if not alone:
        check_gates(config, inputs)
    return RowsRun(config, inputs, raw, made, own)


def check_gates(config: SelectConfig, rows: RowArtifacts) -> None:
    """Refuse quality gates that leave nothing to choose from; raises SelectionError."""
    if rows.gates is not None:
        check_some_left(config, rows.gates)


def gated(
    config: SelectConfig, rows: tuple[Ref, Ref, Ref, Ref], vectors: Sequence[Ref], run: Runner
) -> GateArtifacts:
    """Run the quality gates; vectors that they compare have the seed 0, whatever the run's."""
    instructions, scores, metrics, candidates = rows
    quality, unseeded = required(config.quality), config.model_copy(update={"seed": 0})
    fitted = embeddings = None
    if quality.wants_vectors:
        fitted = run(EMBEDDER, unseeded, instructions) if is_fitted(config) else None
        embeddings = run(EMBEDDINGS, unseeded, instructions, fitted, vectors)
    filters = run(ROW_FILTERS, config, scores, metrics, candidates) if quality.row_gates else None
    contamination = groups = None
    if quality.decontamination:
        contamination = run(CONTAMINATION, config, instructions, fitted, embeddings)
    if quality.duplicates:
        near = quality.duplicates.near is not None
        sketches = run(SKETCHES, config, instructions) if near else None
        groups = run(DUPLICATE_GROUPS, config, instructions, embeddings, sketches)
    return GateArtifacts(
        candidates=candidates,
        row_filters=filters,
        contamination=contamination,
        duplicate_groups=groups,
        gated=run(GATED, config, candidates, filters, contamination),
    )
