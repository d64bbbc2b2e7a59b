"""The selection flow: from a crowd's scored answers to the best N rows, with a reason for each.

Every stage is cached in the store under a key of everything that changes its content, so a run that
is repeated, or killed and started again, computes only what is missing. Credentials come from the
environment (AWS_*, HF_TOKEN) and are in no key, log or artifact.

Run it as `python -m flows.select`, deploy it as `flows.select.select`.
"""

if __name__ == "__main__":  # before prefect is imported: --help is quick, the console is set up
    import sys

    from flows.cli import main

    sys.exit(main())

from collections.abc import Sequence
from typing import Any

from prefect import flow

from crowdselect_core.config.quality import required
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.export import figure_files, hub_dataset, selection_files
from crowdselect_core.planning import heldout, preflight
from crowdselect_core.planning.gate_check import check_alone
from crowdselect_core.planning.missing_work import find_missing, without_missing
from crowdselect_core.reselection.record import KnownSelection, RankedRun, SelectionRun
from crowdselect_core.stages.base import Runner
from crowdselect_core.stages.graph import (
    ANSWERS,
    CENTERS,
    CLUSTERS,
    COMPARISON,
    CONTAMINATION,
    DEDUPLICATED,
    DUPLICATE_GROUPS,
    EMBEDDER,
    EMBEDDINGS,
    GATED,
    INSTRUCTIONS,
    METRICS,
    PAIRS,
    RANKING,
    ROW_FILTERS,
    SCORES,
    SELECTION,
)
from crowdselect_core.stages.refs import GateArtifacts, RankedArtifacts, Ref, SelectionArtifacts
from crowdselect_core.stages.select.embedder import is_fitted
from crowdselect_core.stages.select.method_identity import needs_vectors
from flows import crowd_steps, method_steps
from tasks import flow_runs
from tasks import quality as gate_tasks
from tasks import report as report_tasks
from tasks import select as tasks
from tasks.secrets import lend
from tasks.stage_task import run as run_task


@flow(name="select", version=flow_runs.VERSION, persist_result=False)
@flow_runs.told
def select(config: SelectConfig) -> Any:
    """Choose the best rows of a data set that a crowd has answered and reward models have scored.

    Missing answers are generated first, and missing scores computed.

    Args:
        config: what to choose from, by what, and where the results go.
    """
    lend(config)
    config = config.resolved()
    preflight.check(config)
    preflight.check_out(config, selection_files.names_of(config))
    if config.quality and config.quality.only:
        return crowd_steps.repaired(config, lambda config: examined(ranked(config)))
    if config.figures:
        figure_files.check_replaceable(config.out)
    if config.push_to:
        hub_dataset.check()
    return crowd_steps.repaired(config, story)


def story(config: SelectConfig) -> dict[str, Any]:
    """Select, write the results and their report, and upload them where that is asked for."""
    made = chosen(config)
    told = written(made)
    files = reported(made.config, made.inputs)
    if config.push_to:
        place = tasks.push(config, made.inputs, told["summary"])
        told["lines"] = [f"uploaded   to {place}"]
    return told | {"files": sorted({*told["files"], *files})}


def chosen(
    config: SelectConfig,
    known: KnownSelection | None = None,
    vectors: Sequence[Ref] = (),
    run: Runner = run_task,
) -> SelectionRun:
    """Run the stages in order; each is cached or computed.

    Args:
        config: what to choose from.
        known: what an earlier selection knows: unchanged files are not read again.
        vectors: earlier embeddings: texts that stand there are not embedded again. Neither of the
            two changes a result.
        run: what runs a stage: a task, or in its place what plans or builds it in the process.
            Answers and scores that the data set lacks are made by tasks alone.
    """
    check_alone(config)
    found = ranked(config, known, vectors, run)
    config, made, rows = found.config, found.made, found.inputs
    selection = run(SELECTION, config, rows.scores, rows.metrics, rows.ranking, rows.clusters)
    scored = (rows.scores, rows.metrics, selection)
    pairs = run(PAIRS, config, *scored) if config.wants_pairs else None
    compared = (rows.metrics, rows.answers, selection, rows.clusters, rows.lengths)
    comparison = run(COMPARISON, config, *compared)

    inputs = SelectionArtifacts(
        **vars(rows), selection=selection, pairs=pairs, comparison=comparison
    )
    return SelectionRun(
        config=config,
        inputs=inputs,
        raw=made[0] if made else found.dataset,
        dataset=found.dataset,
        zoos=made[-1:],
        stages=[*found.before, *inputs.refs().values()],
    )


def ranked(
    config: SelectConfig,
    known: KnownSelection | None = None,
    vectors: Sequence[Ref] = (),
    run: Runner = run_task,
    *,
    lengths: bool = True,
) -> RankedRun:
    """Run the stages up to the ranking; see `chosen`.

    Args:
        config: what to choose from.
        known: as there.
        vectors: as there.
        run: as there.
        lengths: whether the tokens of all answers that could be kept are counted.
    """
    if run is run_task:
        method_steps.check(config)
    lacks, made, split = find_missing(config), list[Ref](), None
    own = without_missing(config, lacks)  # what the data set has by itself
    heldout.check(config, lacks)
    if lacks:
        config, split, made = crowd_steps.zoo(config, lacks, known.raw if known else None)
    else:
        preflight.describe_data(config)
    earlier = None if lacks or not known else known.raw
    raw = run(INSTRUCTIONS, config, earlier)
    preflight.check_data(config, raw)
    split = split or crowd_steps.split(config, lacks, raw, run)
    instructions = raw if lacks else split.rows
    scores = run(SCORES, config, instructions)
    metrics = run(METRICS, config, scores)
    answers = candidates = run(ANSWERS, config, scores, metrics)
    alone = config.quality is not None and config.quality.only  # nothing is chosen from clusters
    balanced = not alone and preflight.is_balanced(config, instructions)
    embeds = balanced or needs_vectors(config.method)
    fitted = run(EMBEDDER, config, instructions) if embeds and is_fitted(config) else None
    embeddings = run(EMBEDDINGS, config, instructions, fitted, vectors) if embeds else None
    centers = run(CENTERS, config, embeddings) if embeddings and balanced else None
    clusters = run(CLUSTERS, config, embeddings, centers) if embeddings and centers else None
    gates = None
    if config.quality is not None:
        gates = gated(config, (instructions, scores, metrics, candidates), vectors, run)
        answers = gates.gated
    tables, given = (scores, metrics, answers), (own, made[0] if made else instructions)
    counts = lengths and not alone
    counted = method_steps.answer_lengths(config, instructions, tables, run) if counts else None
    values = method_steps.values(config, given, tables, run, instructions)
    held = embeddings if needs_vectors(config.method) else None
    ranking = run(RANKING, config, metrics, answers, None, values, held)
    if gates and gates.duplicate_groups:  # the best row of each group stays, and all rank again
        answers = run(DEDUPLICATED, config, answers, gates.duplicate_groups, ranking)
        ranking = run(RANKING, config, metrics, answers, None, values, held)

    inputs = RankedArtifacts(
        instructions=instructions, scores=scores, metrics=metrics, answers=answers,
        embedder=fitted, embeddings=embeddings, centers=centers, clusters=clusters,
        lengths=counted, values=values,
        ranking=ranking, heldout=split.heldout, heldout_duplicates=split.duplicates,
        **(gates.refs() if gates else {}),
    )  # fmt: skip
    return RankedRun(config, inputs, raw, made)


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
        groups = run(DUPLICATE_GROUPS, config, instructions, embeddings)
    return GateArtifacts(
        candidates=candidates,
        row_filters=filters,
        contamination=contamination,
        duplicate_groups=groups,
        gated=run(GATED, config, candidates, filters, contamination),
    )


def written(chosen: SelectionRun) -> dict[str, Any]:
    """Write a selection to OUT and show it in the UI."""
    config, inputs = chosen.config, chosen.inputs
    told = tasks.export(config, inputs)
    tasks.publish(config, inputs.selection, told["summary"], chosen.stages, told["figures"])
    return {
        "summary": told["summary"],
        "files": [*told["files"], *told["figures"]],
        "stages": crowd_steps.told(chosen.stages),
    }


def reported(config: SelectConfig, inputs: SelectionArtifacts, *, texts: bool = True) -> list[str]:
    """Write the report beside the results, where one is wanted; return the files of the manifest.

    Args:
        config: what was chosen from, and where the results are.
        inputs: the artifacts of the selection.
        texts: whether the data set is still the one that was chosen from.
    """
    return report_tasks.report(config, inputs, texts) if config.report else []


def examined(rows: RankedRun) -> dict[str, Any]:
    """Write what the quality gates found to OUT, and choose nothing."""
    told = gate_tasks.export_gates(rows.config, rows.inputs)
    stages = crowd_steps.told([*rows.before, *rows.inputs.refs().values()])
    return {"lines": told["lines"], "files": told["files"], "stages": stages}
