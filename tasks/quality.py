"""The task that writes what the quality gates found, where nothing is chosen."""

import logging
from typing import Any

from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.export import selection_files
from crowdselect_core.report.quality import gate_lines, gate_report
from crowdselect_core.report.text import LONG, markdown_text
from crowdselect_core.stages.refs import RowArtifacts
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.out_files import QUALITY
from tasks import cancellation
from tasks.stage_task import state_task

log = logging.getLogger("crowdselect")


@state_task("export-gates")
def export_gates(config: SelectConfig, inputs: RowArtifacts) -> State[dict[str, Any]]:
    """Write OUT/quality.json and show the counts in the UI."""
    cancellation.check()
    told = gate_report(config, Store(config.store), inputs)
    if told is None:
        raise ValueError("no quality gates were run")
    selection_files.write_gates(config, told)
    lines = gate_lines(told)
    text = "\n".join(f"- {markdown_text(line, LONG)}" for line in lines)
    create_markdown_artifact(text, key="quality-gates", description="Rows that each gate refuses")
    log.info("%-13s written to %s", "export", config.out)
    return Completed(message=f"written to {config.out}", data={"lines": lines, "files": [QUALITY]})
