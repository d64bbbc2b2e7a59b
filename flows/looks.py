"""What a command shows without running its flow: dry runs, checks, lists and explanations.

What imports prefect is imported late, and only where it is needed: see `console.prepare`.
"""

import logging
from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING

from crowdselect_core.config.reselect import ReselectConfig
from crowdselect_core.config.select import SelectConfig
from flows import console, flow_schemas

if TYPE_CHECKING:
    from crowdselect_core.reselection.record import SelectionRun
    from crowdselect_core.stages.base import Runner

NAMES = ("dry_run", "check", "list", "preflight")  # the switches


def look(what: str, config: SelectConfig, flow: str) -> Iterable[str]:
    """Return what a switch asks for, line by line as it comes; nothing is run.

    Args:
        what: one of NAMES.
        config: resolved.
        flow: of the command.
    """
    _credentials(config)
    _cluster_named(config)
    if what == "check":
        return check(config)
    if what == "preflight":
        return preflight(config)
    if what == "list" and isinstance(config, ReselectConfig):
        return listed(config)
    return dry_run(config, flow)


def dry_run(config: SelectConfig, flow: str) -> list[str]:
    """Return what the flow would do: every module of a flow has a function `dry_run`."""
    console.plain_warnings()
    with flow_schemas.skipped():
        module = import_module(f"flows.{flow}")
    lines: list[str] = module.dry_run(config)
    return lines


def check(config: SelectConfig) -> Iterable[str]:
    """Check the reward models for conformance."""
    from crowdselect_core.planning.reward_check import check_all
    from crowdselect_core.reward.factory import Resources
    from tasks.secrets import secret

    return check_all(config, Resources(secret))


def preflight(config: SelectConfig) -> Iterable[str]:
    """Check what the cells of an experiment need."""
    from crowdselect_core.planning.experiment_preflight import experiment_preflight
    from tasks.secrets import secret

    return experiment_preflight(config, secret)


def listed(config: ReselectConfig) -> list[str]:
    """List the selections of a series."""
    from crowdselect_core.report.reselection import listing
    from crowdselect_core.store.artifacts import Store

    return listing(Store(config.store), config.series)


def compared(first: str, second: str) -> list[str]:
    """Compare two outputs that exist."""
    from crowdselect_core.experiment.outputs import compare_outputs

    return compare_outputs(first, second).lines


def explained(config: SelectConfig, row_id: str) -> Iterable[str]:
    """Say why a row was chosen or not; nothing is computed for it."""
    _credentials(config)
    from crowdselect_core.report.explain import explain
    from crowdselect_core.report.explain_source import find_selection
    from crowdselect_core.report.explain_text import explanation_lines

    def story(config: SelectConfig, *, run: "Runner") -> "SelectionRun":
        # Only where OUT does not have it: it imports prefect.
        chosen: SelectionRun = import_module("flows.select").chosen(config, run=run)
        return chosen

    console.plain_warnings()
    return explanation_lines(explain(find_selection(config, story), row_id))


def check_reported(config: SelectConfig) -> None:
    """Refuse an OUT that no report can be made of before a Prefect server is started.

    Where credentials stand in a block of Prefect's, OUT is looked at by the flow alone.

    Raises:
        StorageError: nothing that a report is made from lies there.
    """
    if not config.credentials_block:
        from crowdselect_core.report.page.writing import manifest_in

        manifest_in(config.out)


def check_beforehand(config: SelectConfig, flow: str) -> None:
    """Refuse what a run would refuse of its data set before a Prefect server is started.

    Where credentials stand in a block of Prefect's, the data set is looked at by the flow alone.

    Raises:
        UserError: see `executor_check` and `data_check.check_beforehand`.
    """
    _cluster_named(config)
    if config.credentials_block:
        return
    from crowdselect_core.cluster import executor_check
    from crowdselect_core.planning import data_check

    ours, silent = logging.getLogger("crowdselect"), logging.NullHandler()
    ours.addHandler(silent)  # the run says its warnings itself
    try:
        data_check.check_beforehand(config, flow)
    finally:
        ours.removeHandler(silent)
    executor_check.check_port(config)


def _cluster_named(config: SelectConfig) -> None:
    """Refuse a wrong address of a Ray cluster, or resources of a stage that does not spread."""
    if config.executor.kind == "ray":
        from crowdselect_core.cluster import executor_check

        executor_check.check_named(config)


def _credentials(config: SelectConfig) -> None:
    """Take the credentials of a Prefect block, where one is configured."""
    if config.credentials_block:
        from tasks.secrets import lend

        lend(config)
