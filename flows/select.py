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
from crowdselect_core.planning import preflight
from crowdselect_core.planning.dry_run import forecast
from crowdselect_core.planning.gate_check import check_alone
from crowdselect_core.reselection.record import KnownSelection, RankedRun, RowsRun, SelectionRun
from crowdselect_core.stages.base import Runner
from crowdselect_core.stages.graph import (
    CENTERS,
    CLUSTERS,
    COMPARISON,
    DEDUPLICATED,
    EMBEDDER,
    EMBEDDINGS,
    PAIRS,
    RANKING,
    SELECTION,
)
from crowdselect_core.stages.refs import RankedArtifacts, Ref, SelectionArtifacts
from crowdselect_core.stages.select.embedder import is_fitted
from crowdselect_core.stages.select.method_identity import needs_vectors
from flows import crowd_steps, method_steps, row_steps
from tasks import flow_runs
from tasks import quality as gate_tasks
from tasks import report as report_tasks
from tasks import select as tasks
from tasks.secrets import lend
from tasks.stage_task import run as run_task


@flow(name="select", version=flow_runs.VERSION, persist_result=False)
@flow_runs.tracked
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
        return crowd_steps.repaired(config, examined)
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
    rows = row_steps.rows(config, known, vectors, run)
    config, found = rows.config, rows.inputs
    instructions, scores, metrics, answers = (
        found.instructions, found.scores, found.metrics, found.answers,
    )  # fmt: skip
    alone = config.quality is not None and config.quality.only  # nothing is chosen from clusters
    balanced = not alone and preflight.is_balanced(config, instructions)
    embeds = balanced or needs_vectors(config.method)
    fitted = run(EMBEDDER, config, instructions) if embeds and is_fitted(config) else None
    embeddings = run(EMBEDDINGS, config, instructions, fitted, vectors) if embeds else None
    centers = run(CENTERS, config, embeddings) if embeddings and balanced else None
    clusters = run(CLUSTERS, config, embeddings, centers) if embeddings and centers else None
    tables, counts = (scores, metrics, answers), lengths and not alone
    counted = method_steps.answer_lengths(config, instructions, tables, run) if counts else None
    values = method_steps.values(config, rows.given, tables, run, instructions)
    held = embeddings if needs_vectors(config.method) else None
    ranking = run(RANKING, config, metrics, answers, None, values, held)
    if found.duplicate_groups:  # the best row of each group stays, and all rank again
        answers = run(DEDUPLICATED, config, answers, found.duplicate_groups, ranking)
        ranking = run(RANKING, config, metrics, answers, None, values, held)

    inputs = RankedArtifacts(
        **{**vars(found), "answers": answers},
        embedder=fitted, embeddings=embeddings, centers=centers, clusters=clusters,
        lengths=counted, values=values, ranking=ranking,
    )  # fmt: skip
    return RankedRun(config, inputs, rows.dataset, rows.made, rows.own)


def gated(config: SelectConfig, *, run: Runner = run_task) -> RowsRun:
    """Run the stages that the quality gates need: a ranking where one keeps the best of a group."""
    if required(config.quality).ends_before_ranking:
        return row_steps.rows(config, run=run)
    return ranked(config, run=run)


def written(chosen: SelectionRun) -> dict[str, Any]:
    """Write a selection to OUT and show it in the UI."""
    config, inputs = chosen.config, chosen.inputs
    told = tasks.export(config, inputs)
    tasks.publish(config, inputs.selection, told["summary"], chosen.stages, told["figures"])
    return {
        "summary": told["summary"],
        "files": [*told["files"], *told["figures"]],
        "stages": crowd_steps.stage_summaries(chosen.stages),
    }


def dry_run(config: SelectConfig) -> list[str]:
    """Say what the flow would compute, and what it would upload."""
    if config.quality is not None and config.quality.only:
        return forecast(config, gated)
    lines = forecast(config, chosen)
    if config.push_to:
        from crowdselect_core.report.card import upload_forecast  # which few dry runs need

        lines += upload_forecast(config, chosen)
    return lines


def reported(config: SelectConfig, inputs: SelectionArtifacts, *, texts: bool = True) -> list[str]:
    """Write the report beside the results, where one is wanted; return the files of the manifest.

    Args:
        config: what was chosen from, and where the results are.
        inputs: the artifacts of the selection.
        texts: whether the data set is still the one that was chosen from.
    """
    wanted = report_tasks.is_wanted(config, inputs)
    return report_tasks.report(config, inputs, texts) if wanted else []


def examined(config: SelectConfig) -> dict[str, Any]:
    """Write what the quality gates found to OUT, and choose nothing.

    Raises:
        SelectionError: nothing passes them, once that is written.
    """
    rows = gated(config)
    told = gate_tasks.export_gates(rows.config, rows.inputs)
    row_steps.check_gates(rows.config, rows.inputs)
    stages = crowd_steps.stage_summaries([*rows.before, *rows.inputs.refs().values()])
    return {"lines": told["lines"], "files": told["files"], "stages": stages}
