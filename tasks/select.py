"""The tasks that write the results of a selection, and show them."""

import logging
from collections.abc import Sequence
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.export import figure_files, hub_dataset, selection_files
from crowdselect_core.export.ranking_rows import ExplainedRows
from crowdselect_core.report.card import card_of
from crowdselect_core.report.summary import summarise
from crowdselect_core.report.text import as_markdown, as_rows
from crowdselect_core.stages.refs import Ref, SelectionArtifacts
from crowdselect_core.store.artifacts import Store
from tasks import cancellation
from tasks.figures import show_figures
from tasks.stage_task import OPTIONS, state_task

log = logging.getLogger("crowdselect")

TABLE_ROWS = 100  # chosen rows that the UI's table shows


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
        found["figures"] = figures(config, inputs)
        return Completed(name="Cached", message=f"already in {config.out}", data=found)
    store = Store(config.store)
    ranking = ExplainedRows(config, store, inputs)
    summary = summarise(config, store, inputs, ranking, texts=texts)
    manifest = selection_files.write(config, store, inputs, wanted, ranking, summary)
    log.info("%-13s written to %s", "export", config.out)
    told = {**manifest, "figures": figures(config, inputs)}
    return Completed(message=f"written to {config.out}", data=told)


def figures(config: SelectConfig, inputs: SelectionArtifacts) -> list[str]:
    """Write OUT/figures unless they lie there already; without the key, remove an earlier run's."""
    if not config.figures:
        figure_files.remove(config.out)
        return []
    wanted = figure_files.spec(config, inputs)
    found = figure_files.find(config.out, wanted)
    if found is not None:
        log.info("%-13s Cached, already in %s", "figures", config.out)
        return found
    from crowdselect_core.report.figures.data import figure_data
    from crowdselect_core.report.figures.files import draw_all  # imports matplotlib

    drawn = draw_all(figure_data(config, Store(config.store), inputs))
    names = figure_files.write(config.out, wanted, drawn)
    log.info("%-13s %d files", "figures", len(names))
    return names


@state_task("push-dataset")
def push(config: SelectConfig, inputs: SelectionArtifacts, summary: dict[str, Any]) -> State[str]:
    """Upload OUT's training files and their card to the hub; returns the address."""
    cancellation.check()
    card = card_of(config, Store(config.store), inputs, summary)
    key = inputs.selection.key
    place = hub_dataset.upload_selection(str(config.push_to), config.out, card, key)
    log.info("%-13s %s", "push-dataset", place)
    return Completed(message=f"uploaded to {place}", data=place)


@task(name="publish", **OPTIONS)
def publish(
    config: SelectConfig,
    selection: Ref,
    summary: dict[str, Any],
    stages: Sequence[Ref],
    figures: Sequence[str] = (),
) -> None:
    """Show the summary, the first chosen rows and the figures as artifacts in the Prefect UI."""
    create_markdown_artifact(
        as_markdown(summary, [ref.model_dump() for ref in stages], [config.out]),
        key="selection-summary",
        description="What was chosen, and why",
    )
    chosen = selection.open(Store(config.store)).frame().head(TABLE_ROWS)
    create_table_artifact(
        as_rows(chosen), key="selection-rows", description="The first chosen rows"
    )
    show_figures(config.out, figures)
