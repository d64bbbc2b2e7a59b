"""The tasks of a selection, one per stage, and those that write its results."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.export import selection_files
from crowdselect_core.report.summary import summarise
from crowdselect_core.report.text import as_markdown, as_rows
from crowdselect_core.stages.refs import Ref, SelectionArtifacts
from crowdselect_core.stages.select import answers as answers_stage
from crowdselect_core.stages.select import centers as centers_stage
from crowdselect_core.stages.select import clusters as clusters_stage
from crowdselect_core.stages.select import comparison as comparison_stage
from crowdselect_core.stages.select import embedder as embedder_stage
from crowdselect_core.stages.select import embeddings as embeddings_stage
from crowdselect_core.stages.select import instructions as instructions_stage
from crowdselect_core.stages.select import metrics as metrics_stage
from crowdselect_core.stages.select import pairs as pairs_stage
from crowdselect_core.stages.select import ranking as ranking_stage
from crowdselect_core.stages.select import scores as scores_stage
from crowdselect_core.stages.select import selection as selection_stage
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import Plan
from tasks import cancellation
from tasks.stage_task import OPTIONS, stage_task, state_task

log = logging.getLogger("crowdselect")

Work = tuple[Spec, Callable[[Store], Plan]]

TABLE_ROWS = 100  # chosen rows that the UI's table shows


@stage_task
def instructions(config: SelectConfig, earlier: Ref | None = None) -> Work:
    """Read the ids of the data set's rows and refuse contradictions."""
    return (
        instructions_stage.spec(config),
        lambda store: instructions_stage.plan(config, store, earlier),
    )


@stage_task
def scores(config: SelectConfig, instructions: Ref) -> Work:
    """Read what the reward models gave every answer."""
    return (
        scores_stage.spec(config, instructions),
        lambda store: scores_stage.plan(config, store, instructions),
    )


@stage_task
def metrics(config: SelectConfig, scores: Ref, reference: Ref | None = None) -> Work:
    """Compute difficulty, separability and stability."""
    return (
        metrics_stage.spec(config, scores, reference),
        lambda store: metrics_stage.plan(config, store, scores, reference),
    )


@stage_task
def embedder(config: SelectConfig, instructions: Ref) -> Work:
    """Fit the lexical embedder on the instructions."""
    return (
        embedder_stage.spec(config, instructions),
        lambda store: embedder_stage.plan(config, store, instructions),
    )


@stage_task
def embeddings(
    config: SelectConfig, instructions: Ref, fitted: Ref | None, earlier: Sequence[Ref] = ()
) -> Work:
    """Embed the instructions."""
    return (
        embeddings_stage.spec(config, instructions, fitted),
        lambda store: embeddings_stage.plan(config, store, instructions, fitted, earlier),
    )


@stage_task
def centers(config: SelectConfig, embeddings: Ref) -> Work:
    """Fit the centres of k-means."""
    return (
        centers_stage.spec(config, embeddings),
        lambda store: centers_stage.plan(config, store, embeddings),
    )


@stage_task
def clusters(config: SelectConfig, embeddings: Ref, centers: Ref) -> Work:
    """Assign every instruction to its nearest centre."""
    return (
        clusters_stage.spec(embeddings, centers),
        lambda store: clusters_stage.plan(store, embeddings, centers),
    )


@stage_task
def answers(config: SelectConfig, scores: Ref, metrics: Ref) -> Work:
    """Look for an answer to keep of every row."""
    return (
        answers_stage.spec(config, scores, metrics),
        lambda store: answers_stage.plan(config, store, scores, metrics),
    )


@stage_task
def ranking(config: SelectConfig, metrics: Ref, answers: Ref, reference: Ref | None = None) -> Work:
    """Integrate the metrics into one score and say which rows are eligible."""
    return (
        ranking_stage.spec(config, metrics, answers, reference),
        lambda store: ranking_stage.plan(config, store, metrics, answers, reference),
    )


@stage_task
def selection(
    config: SelectConfig, scores: Ref, metrics: Ref, ranking: Ref, clusters: Ref | None
) -> Work:
    """Fill the quotas by rank and read the kept answers."""
    return (
        selection_stage.spec(config, ranking, clusters),
        lambda store: selection_stage.plan(config, store, scores, metrics, ranking, clusters),
    )


@stage_task
def pairs(config: SelectConfig, scores: Ref, metrics: Ref, selection: Ref) -> Work:
    """Make preference pairs of the chosen rows."""
    return (
        pairs_stage.spec(config, selection),
        lambda store: pairs_stage.plan(config, store, scores, metrics, selection),
    )


@stage_task
def comparison(
    config: SelectConfig, metrics: Ref, answers: Ref, selection: Ref, clusters: Ref | None
) -> Work:
    """Count the overlap with random, clustered random and top reward."""
    return (
        comparison_stage.spec(config, selection, clusters),
        lambda store: comparison_stage.plan(config, store, metrics, answers, selection, clusters),
    )


@state_task("export")
def export(
    config: SelectConfig, inputs: SelectionArtifacts, texts: bool = True
) -> State[dict[str, Any]]:
    """Write the results to OUT, unless they lie there already."""
    cancellation.check()
    wanted = selection_files.spec(config, inputs)
    found = selection_files.find(config, wanted)
    if found is not None:
        log.info("%-13s Cached, already in %s", "export", config.out)
        found["summary"]["changes"] = None  # they were told when the files were written
        return Completed(name="Cached", message=f"already in {config.out}", data=found)
    store = Store(config.store)
    ranking = selection_files.ranking_table(config, store, inputs)
    summary = summarise(config, store, inputs, ranking, texts=texts)
    manifest = selection_files.write(config, store, inputs, wanted, ranking, summary)
    log.info("%-13s written to %s", "export", config.out)
    return Completed(message=f"written to {config.out}", data=manifest)


@task(name="publish", **OPTIONS)
def publish(
    config: SelectConfig, selection: Ref, summary: dict[str, Any], stages: Sequence[Ref]
) -> None:
    """Show the summary and the first chosen rows as artifacts in the Prefect UI."""
    create_markdown_artifact(
        as_markdown(summary, [ref.model_dump() for ref in stages], [config.out]),
        key="selection-summary",
        description="What was chosen, and why",
    )
    chosen = selection.open(Store(config.store)).frame().head(TABLE_ROWS)
    create_table_artifact(
        as_rows(chosen), key="selection-rows", description="The first chosen rows"
    )
