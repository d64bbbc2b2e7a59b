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

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.export import selection_files
from crowdselect_core.planning import preflight
from crowdselect_core.planning.missing_work import find_missing, without_missing
from crowdselect_core.reselection.record import KnownSelection, SelectionRun
from crowdselect_core.stages.base import Runner
from crowdselect_core.stages.graph import (
    ANSWERS,
    CENTERS,
    CLUSTERS,
    COMPARISON,
    EMBEDDER,
    EMBEDDINGS,
    INSTRUCTIONS,
    METRICS,
    PAIRS,
    RANKING,
    SCORES,
    SELECTION,
)
from crowdselect_core.stages.refs import Ref, SelectionArtifacts
from crowdselect_core.stages.select.embedder import is_fitted
from crowdselect_core.stages.select.method_ranking import needs_vectors
from flows import crowd_steps, method_steps
from tasks import flow_runs
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
    return crowd_steps.repaired(config, lambda config: written(chosen(config)))


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
    lacks, made = find_missing(config), list[Ref]()
    own = without_missing(config, lacks)  # what the data set has by itself
    if lacks:
        config, made = crowd_steps.zoo(config, lacks, known.raw if known else None)
    else:
        preflight.describe_data(config)
    earlier = None if lacks or not known else known.raw
    instructions = run(INSTRUCTIONS, config, earlier)
    preflight.check_data(config, instructions)
    scores = run(SCORES, config, instructions)
    metrics = run(METRICS, config, scores)
    answers = run(ANSWERS, config, scores, metrics)
    balanced = preflight.is_balanced(config, instructions)
    embeds = balanced or needs_vectors(config.method)
    fitted = run(EMBEDDER, config, instructions) if embeds and is_fitted(config) else None
    embeddings = run(EMBEDDINGS, config, instructions, fitted, vectors) if embeds else None
    centers = run(CENTERS, config, embeddings) if embeddings and balanced else None
    clusters = run(CLUSTERS, config, embeddings, centers) if embeddings and centers else None
    rows, raw = (scores, metrics, answers), made[0] if made else instructions
    lengths = method_steps.answer_lengths(config, instructions, rows, run)
    values = method_steps.values(config, (own, raw), rows, run)
    held = embeddings if needs_vectors(config.method) else None
    ranking = run(RANKING, config, metrics, answers, None, values, held)
    selection = run(SELECTION, config, scores, metrics, ranking, clusters)
    wants_pairs = "pairs" in config.export
    pairs = run(PAIRS, config, scores, metrics, selection) if wants_pairs else None
    comparison = run(COMPARISON, config, metrics, answers, selection, clusters, lengths)

    inputs = SelectionArtifacts(
        instructions=instructions, scores=scores, metrics=metrics, answers=answers,
        embedder=fitted, embeddings=embeddings, centers=centers, clusters=clusters,
        lengths=lengths, values=values, ranking=ranking, selection=selection, pairs=pairs,
        comparison=comparison,
    )  # fmt: skip
    return SelectionRun(
        config=config,
        inputs=inputs,
        raw=raw,
        dataset=instructions,
        zoos=made[-1:],
        stages=[*made, *inputs.refs().values()],
    )


def written(chosen: SelectionRun) -> dict[str, Any]:
    """Write a selection to OUT and show it in the UI."""
    config, inputs = chosen.config, chosen.inputs
    told = tasks.export(config, inputs)
    tasks.publish(config, inputs.selection, told["summary"], chosen.stages)
    return {
        "summary": told["summary"],
        "files": told["files"],
        "stages": crowd_steps.told(chosen.stages),
    }
