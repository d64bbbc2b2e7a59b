"""A series of selections in this process: the flow's own steps, run without Prefect's tasks."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crowdselect_core.config.load import load
from crowdselect_core.config.reselect import ReselectConfig
from crowdselect_core.export import selection_files
from crowdselect_core.export.ranking_rows import ExplainedRows
from crowdselect_core.planning.missing_work import MissingWork
from crowdselect_core.report.summary import summarise
from crowdselect_core.reselection.base_selection import changes, made_record
from crowdselect_core.reselection.record import BaseSelection, KnownSelection, SelectionRun, known
from crowdselect_core.stages.base import InProcess, Runner
from crowdselect_core.stages.graph import ARRIVALS, INSTRUCTIONS
from crowdselect_core.stages.refs import Ref
from crowdselect_core.store.artifacts import Store
from flows import crowd_steps
from flows.reselect_steps import compared, joined, measured
from flows.select import chosen


@dataclass(frozen=True)
class Selected:
    """A selection of a series, and what came and went since the one before."""

    config: ReselectConfig
    store: Store
    selection: KnownSelection
    arrived: Ref | None = None
    changes: Mapping[str, int] | None = None

    @property
    def out(self) -> Path:
        """The folder of the results."""
        return Path(self.config.out)


def config_of(folder: Path, **keys: Any) -> ReselectConfig:
    """Return the resolved config of a series in a folder."""
    places = {"store": str(folder / "store"), "out": str(folder / "out"), "report": False}
    config = load(None, places | keys, {}, flow="reselect")
    if not isinstance(config, ReselectConfig):
        raise TypeError(config)
    return config


def select_first(config: ReselectConfig, run: Runner | None = None) -> Selected:
    """Select as the first run of a series does, from a data set with scores."""
    store = Store(config.store)
    made = chosen(config, run=run or InProcess(store))
    written(config, store, made)
    return Selected(config, store, recorded(config, store, None, made, {}))


def select_again(config: ReselectConfig, before: Selected, run: Runner | None = None) -> Selected:
    """Select as a frozen run does that found something new, from a data set with scores."""
    store, base = Store(config.store), before.selection
    run = run or InProcess(store)
    raw = run(INSTRUCTIONS, config, base.raw)
    split = crowd_steps.split(config, MissingWork((), ()), raw, run=run)
    arrived = run(ARRIVALS, config, split.rows, base.parts["scores"])
    told = changes(store, base, split.rows, arrived)
    new = measured(config, base, arrived, run=run) if arrived.rows else None
    made = joined(config, base, raw, split, new, run=run)
    made = compared(config, base, made, arrived, new, run=run)
    written(config, store, made)
    selection = recorded(config, store, base, made, new.tables if new else {})
    return Selected(config, store, selection, arrived, told)


def recorded(
    config: ReselectConfig,
    store: Store,
    base: BaseSelection | None,
    made: SelectionRun,
    new: Mapping[str, Ref],
) -> KnownSelection:
    """Return the selection as the next one of its series finds it."""
    record = made_record(config, base, made, {"all": 0, "chosen": 0}, new)
    return known(store, BaseSelection(base.number + 1 if base else 1, record))


def written(config: ReselectConfig, store: Store, made: SelectionRun) -> None:
    """Write a selection to OUT."""
    table = ExplainedRows(config, store, made.inputs)
    summary = summarise(config, store, made.inputs, table)
    wanted = selection_files.spec(config, made.inputs)
    selection_files.write(config, store, made.inputs, wanted, table, summary)
