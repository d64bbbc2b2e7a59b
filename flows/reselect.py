"""The reselection flow: select again when rows have arrived, and pay for the new rows only.

A series of selections lies in the store. Mode `frozen` measures new rows by what the base was
fitted on (clusters, quantiles, z-scores, embedder) and lets them compete for the same budget;
`refit` fits everything anew. Both tell who came, who went and why, and how far the new rows lie
off; `latest` moves when the new selection is complete. Nothing new: nothing changes.

Run it as `python -m flows.reselect`, deploy it as `flows.reselect.reselect`.
"""

if __name__ == "__main__":  # before prefect is imported: --help is quick, the console is set up
    import sys

    from flows.cli import main

    sys.exit(main(flow="reselect"))

import logging
from functools import partial
from typing import Any

from prefect import flow

from crowdselect_core.config.reselect import ReselectConfig
from crowdselect_core.errors import DamagedArtifact
from crowdselect_core.export import figure_files, selection_files
from crowdselect_core.planning import preflight
from crowdselect_core.planning.dry_run import forecast
from crowdselect_core.planning.missing_work import find_missing, without_missing
from crowdselect_core.report.reselection import row_counts
from crowdselect_core.reselection.base_selection import (
    as_it_was,
    folder_of,
    is_same_choice,
    made_record,
    unlike,
    unmendable,
)
from crowdselect_core.reselection.record import BaseSelection, KnownSelection, NewRows, SelectionRun
from crowdselect_core.reselection.series import Overtaken
from crowdselect_core.stages import graph as stages
from crowdselect_core.stages.refs import Ref
from flows import crowd_steps
from flows.reselect_steps import compared, joined, measured
from flows.select import chosen, reported, written
from tasks import flow_runs
from tasks import reselect as tasks
from tasks import select as select_tasks
from tasks.secrets import lend
from tasks.stage_task import run

log = logging.getLogger("crowdselect")

OVERTAKEN = 5  # runs that may add a selection while this one makes its own


@flow(name="reselect", version=flow_runs.VERSION, persist_result=False)
@flow_runs.tracked
def reselect(config: ReselectConfig) -> Any:
    """Select again from a data set that rows have been added to.

    Args:
        config: what to choose from, by what, where the results go, and the series to go on with.
    """
    lend(config)
    config = config.resolved()
    preflight.check(config)
    preflight.check_out(config, selection_files.names_of(config, reselected=True))
    if config.figures:
        figure_files.check_replaceable(config.out)
    if config.rollback_to is not None:
        return rolled_back(config, config.rollback_to)
    return mended(config)


def mended(config: ReselectConfig) -> dict[str, Any]:
    """Select; what is found damaged is computed anew, and a refit does without what cannot be.

    Raises:
        StorageError: a frozen run needs a table of its base that is damaged.
    """
    again: set[str] = set()
    for _ in range(crowd_steps.REPAIRS):
        try:
            return story(config)
        except DamagedArtifact as damage:
            if (name := folder_of(damage)) not in again:
                again.add(name)
                log.warning("%s; computing it again, if a stage of this run computes it", damage)
            elif config.mode == "frozen":
                raise unmendable(config, damage) from None
            else:
                log.warning("%s; continuing without the tables of the base", damage)
                return crowd_steps.repaired(config, partial(story, alone=True))
    raise DamagedArtifact(
        f"{config.store}: still corrupt after {crowd_steps.REPAIRS} repairs; check the disk"
    )


def story(config: ReselectConfig, alone: bool = False) -> dict[str, Any]:
    """Select again where there is anything new; where another run was faster, go on from its.

    Args:
        config: the series, and what to choose from.
        alone: whether to leave aside what the base knows.
    """
    for _ in range(OVERTAKEN):
        try:
            return selected(config, alone)
        except Overtaken as overtaken:
            log.info("%-13s %s; continuing from that one", "reselect", overtaken)
    return selected(config, alone)


def selected(config: ReselectConfig, alone: bool) -> dict[str, Any]:
    """Find out what is new, choose, tell what changed, and record the selection."""
    start, seen = tasks.base(config)
    if start is None or alone:
        return recorded(config, start, chosen(config), {}, seen)
    base, frozen = tasks.known(config, start), config.mode == "frozen"
    settled = is_settled(config, base)
    missing = find_missing(config)
    raw = run(stages.INSTRUCTIONS, without_missing(config, missing), base.raw)
    if frozen and settled and raw.key == base.raw.key:
        return calm(config, base)
    split = crowd_steps.split(config, missing, raw)
    arrived = run(stages.ARRIVALS, config, split.rows, base.parts["scores"])
    changes = tasks.changes(config, base, split.rows, arrived)
    if frozen and settled and not any(changes.values()):
        return calm(config, base)
    comparable = not unlike(config, base.record)
    new = measured(config, base, arrived) if comparable and arrived.rows else None
    now = (
        joined(config, base, raw, split, new)
        if frozen
        else chosen(config, base, embedded(base, new))
    )
    if not frozen and settled and tasks.unchanged(config, base, now):
        return calm(config, base)
    return recorded(config, base, compared(config, base, now, arrived, new), changes, seen, new)


def calm(config: ReselectConfig, base: KnownSelection) -> dict[str, Any]:
    """Change nothing but an OUT that lacks the selection."""
    select_tasks.export(config, base.inputs, texts=False)
    reported(config, base.inputs, texts=False)
    return tasks.nothing_new(config, base)


def embedded(base: KnownSelection, new: NewRows | None) -> list[Ref]:
    """Return the artifacts that hold vectors of known texts."""
    fresh = [new.embeddings] if new and new.embeddings else []
    return [*base.parts.get("embeddings", ()), *fresh]


def is_settled(config: ReselectConfig, base: KnownSelection) -> bool:
    """Tell whether the base is what would come out of the rows that it knows."""
    same = not unlike(config, base.record) and is_same_choice(config, base.record)
    return same and (config.mode == "frozen" or base.record.mode == "refit")


def recorded(
    config: ReselectConfig,
    base: BaseSelection | None,
    now: SelectionRun,
    changes: dict[str, int],
    seen: tuple[int, int],
    new: NewRows | None = None,
) -> dict[str, Any]:
    """Write the selection to OUT, add it to the series, and move `latest` to it."""
    told = written(now)
    rows = row_counts(now.inputs, changes)
    record = made_record(config, base, now, rows, new.tables if new else {})
    number = tasks.record(config, record, seen)
    lines = tasks.tell(config, number, record, now.inputs)
    files = reported(now.config, now.inputs)  # after the record: it may fail
    return told | {"files": sorted({*told["files"], *files}), "number": number, "lines": lines}


def rolled_back(config: ReselectConfig, number: int) -> dict[str, Any]:
    """Write an earlier selection to OUT again and point `latest` to it."""
    then = tasks.numbered(config, number)
    config = as_it_was(config, then.record)
    told = select_tasks.export(config, then.inputs, texts=False)  # the data set may be another now
    tasks.point(config, number)
    lines = tasks.tell(config, number, then.record, then.inputs)
    report = reported(config, then.inputs, texts=False)
    files = sorted({*told["files"], *told["figures"], *report})
    return {"summary": told["summary"], "files": files, "stages": [], "lines": lines}


def dry_run(config: ReselectConfig) -> list[str]:
    """Say what a selection of all rows would compute."""
    return forecast(config, chosen, "reselect")
