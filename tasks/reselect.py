"""The tasks of a reselection beside its stages: what is known, and the record of it all."""

import logging
from typing import Any

import polars as pl
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed

from crowdselect_core.config.reselect import ReselectConfig
from crowdselect_core.report.reselection import as_changes, reselected
from crowdselect_core.report.text import LONG, markdown_text
from crowdselect_core.reselection import base_selection
from crowdselect_core.reselection.record import (
    BaseSelection,
    KnownSelection,
    SelectionRecord,
    SelectionRun,
)
from crowdselect_core.reselection.series import Series
from crowdselect_core.stages.refs import Ref, SelectionArtifacts
from crowdselect_core.store.artifacts import Store
from tasks.select import TABLE_ROWS
from tasks.stage_task import state_task

log = logging.getLogger("crowdselect")


@state_task("base")
def base(config: ReselectConfig) -> State[tuple[BaseSelection | None, tuple[int, int]]]:
    """Read the record of the base selection; before the first one there is none."""
    store = Store(config.store)
    seen = Series(store, config.series).seen()
    found = base_selection.read(config, store)
    name = f"selection {found.number}" if found else "none, this is the first selection"
    log.info("%-13s %s of series %s", "base", name, config.series)
    return Completed(message=f"{name} of {config.series}", data=(found, seen))


@state_task("known")
def known(config: ReselectConfig, base: BaseSelection) -> State[KnownSelection]:
    """Look up the artifacts of the base selection."""
    found = base_selection.whole(config, Store(config.store), base)
    return Completed(message=f"selection {base.number} of {config.series}", data=found)


@state_task("record")
def record(config: ReselectConfig, made: SelectionRecord, seen: tuple[int, int]) -> State[int]:
    """Add the selection to its series, and point `latest` to it.

    Raises:
        Overtaken: another selection is there or is the latest meanwhile; go on from that.
    """
    series = Series(Store(config.store), config.series)
    number = series.add(made, seen)
    series.advance(number, seen)
    log.info("%-13s selection %d of series %s is the latest", "record", number, config.series)
    return Completed(message=f"selection {number} of {config.series}", data=number)


@state_task("changes")
def changes(
    config: ReselectConfig, known: KnownSelection, raw: Ref, arrived: Ref
) -> State[dict[str, int]]:
    """Count the new, returned and removed rows."""
    found = base_selection.changes(Store(config.store), known, raw, arrived)
    told = ", ".join(f"{n:,} {name}" for name, n in found.items())
    log.info("%-13s %s", "changes", told)
    return Completed(message=told, data=found)


@state_task("unchanged")
def unchanged(config: ReselectConfig, known: KnownSelection, now: SelectionRun) -> State[bool]:
    """Tell whether a refit chose what the base has."""
    same = base_selection.is_same_outcome(Store(config.store), known, now)
    return Completed(message="same as the base" if same else "differs from the base", data=same)


@state_task("point")
def point(config: ReselectConfig, number: int) -> State[None]:
    """Point `latest` to an earlier selection."""
    Series(Store(config.store), config.series).point(number)
    return Completed(message=f"selection {number} of {config.series}", data=None)


@state_task("numbered")
def numbered(config: ReselectConfig, number: int) -> State[KnownSelection]:
    """Read the record of a selection, and check that its artifacts are there."""
    found = base_selection.numbered(config, Store(config.store), number)
    return Completed(message=f"selection {number} of {config.series}", data=found)


@state_task("tell")
def tell(
    config: ReselectConfig, number: int, record: SelectionRecord, inputs: SelectionArtifacts
) -> State[list[str]]:
    """Say what a selection changed, on the console and in the UI."""
    store = Store(config.store)
    lines = reselected(config, store, number, record, inputs)
    text = "\n".join(f"- {markdown_text(line, LONG)}" for line in lines)
    create_markdown_artifact(text, key="reselection", description="What this selection changed")
    if inputs.membership is not None:
        table = inputs.membership.open(store).frame().filter(pl.col("change") != "stayed")
        create_table_artifact(
            as_changes(table.head(TABLE_ROWS)),
            key="reselection-members",
            description="The first rows that were added and removed",
        )
    return Completed(message=lines[0], data=lines)


def nothing_new(config: ReselectConfig, known: KnownSelection) -> dict[str, Any]:
    """Return the result of a run that changes nothing, and say so."""
    line = f"no new rows since selection {known.number} of series {config.series}: nothing changed"
    log.info("%-13s %s", "reselect", line)
    return {"lines": [line], "files": [], "stages": [], "number": known.number}
