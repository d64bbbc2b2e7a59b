"""The tasks that write the report of a selection."""

import logging

from prefect.client.schemas.objects import State
from prefect.states import Completed

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import ReportError
from crowdselect_core.export.selection_files import REPORT
from crowdselect_core.report.page import writing
from crowdselect_core.stages.refs import SelectionArtifacts
from crowdselect_core.store.artifacts import Store
from tasks import cancellation
from tasks.stage_task import state_task

log = logging.getLogger("crowdselect")


def is_wanted(config: SelectConfig, inputs: SelectionArtifacts) -> bool:
    """Tell whether a run writes the report; the log says where it does not by itself.

    One that lies in OUT already stays.
    """
    rows = inputs.ranking.rows
    if config.report is None and rows > writing.MOST_ROWS and not writing.find(config, inputs):
        log.info(
            "%-13s left out: %s rows would take some %.1f GB of memory; --report writes it",
            "report", f"{rows:,}", rows * writing.ROW_BYTES / 1e9,
        )  # fmt: skip
        return False
    return config.report is not False


@state_task("report")
def report(
    config: SelectConfig, inputs: SelectionArtifacts, texts: bool = True, again: bool = False
) -> State[list[str]]:
    """Write OUT/report.html, unless it lies there already; return the files of OUT.

    Where another run has written to OUT since, there is none to write, which the log says.
    """
    cancellation.check()
    found = None if again else writing.find(config, inputs, texts=texts)
    if found is not None:
        log.info("%-13s Cached, already in %s", "report", config.out)
        return Completed(
            name="Cached", message=f"already in {config.out}", data=sorted(found["files"])
        )
    made = writing.write(config, Store(config.store), inputs, texts=texts)
    if made is None and again:
        raise ReportError(
            f"{config.out}: another run or an earlier version wrote here; run flows.select again"
        )
    if made is None:
        log.warning("%s: another run writes here; no report of this one is written", config.out)
        return Completed(message=f"another run writes to {config.out}", data=[])
    log.info("%-13s %s bytes, in %s", "report", f"{made['files'][REPORT]['bytes']:,}", config.out)
    return Completed(message=f"written to {config.out}", data=sorted(made["files"]))


@state_task("selected")
def selected(out: str) -> State[writing.Selected]:
    """Read from OUT's manifest what the report is made of."""
    return Completed(message=f"the selection in {out}", data=writing.selected(out))
