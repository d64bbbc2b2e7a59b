"""The data set card of a selection that was made: its facts, gathered for `export.dataset_card`."""

from collections.abc import Mapping
from typing import Any

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import DamagedArtifact
from crowdselect_core.export import hub_dataset
from crowdselect_core.export.dataset_card import CardFacts, dataset_card
from crowdselect_core.export.ranking_rows import ExplainedRows
from crowdselect_core.report.crowd_figures import kept_counts
from crowdselect_core.report.explain_source import NoSelection, Story, find_selection
from crowdselect_core.report.summary import summarise
from crowdselect_core.selection.explanations import IN_WORDS
from crowdselect_core.stages.refs import SelectionArtifacts
from crowdselect_core.store.artifacts import Store
from crowdselect_core.util.versions import version_of


def card_of(
    config: SelectConfig, store: Store, inputs: SelectionArtifacts, summary: Mapping[str, Any]
) -> str:
    """Return the data set card of a selection.

    Args:
        config: resolved, as the user gave it.
        store: where the artifacts are.
        inputs: of the selection.
        summary: what `summarise` gathered of it.

    Raises:
        ConfigError: the package huggingface_hub is missing.
    """
    kept = kept_counts(inputs.selection.open(store).frame(["response_model"]), config.models)
    version = version_of("crowdselect")
    facts = CardFacts(summary, kept, inputs.selection.key, version, IN_WORDS)
    return dataset_card(config, facts)


def upload_forecast(config: SelectConfig, story: Story) -> list[str]:
    """Write the card to OUT/dataset_card.md, and say what would be uploaded; nothing is.

    Args:
        config: resolved, as the user gave it.
        story: the stages in their order.

    Raises:
        StorageError: OUT cannot be written.
        ConfigError: it holds a file of that name that is not ours, or the package huggingface_hub
            is missing.
    """
    try:
        found = find_selection(config, story)
        made, store, inputs = found.config, found.store, found.inputs
        ranking = ExplainedRows(made, store, inputs)
    except NoSelection:
        return [
            f"upload     to {config.push_to}; the card needs the selection: run without --dry-run"
        ]
    except DamagedArtifact as damage:
        return [f"upload     to {config.push_to}; the card needs the selection: {damage}"]
    summary = summarise(made, store, inputs, ranking, texts=False)
    place = hub_dataset.write_card(config.out, card_of(config, store, inputs, summary))
    pairs = f", {summary['pairs']:,} pairs" if summary["pairs"] else ""
    if config.wants_pairs and inputs.pairs is None:
        pairs = ", and preference pairs, which are not made yet and not in the card"
    return [
        f"upload     to {config.push_to} (a new one is private): {summary['chosen']:,} rows{pairs}",
        f"card       {place}",
    ]
