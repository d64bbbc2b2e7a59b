"""The report flow: make OUT/report.html again from what an earlier selection left.

Everything comes from OUT/manifest.json and the store that it names; nothing is selected.

Run it as `python -m flows.report --out OUT`, deploy it as `flows.report.report`.
"""

if __name__ == "__main__":  # before prefect is imported: --help is quick, the console is set up
    import sys

    from flows.cli import main

    sys.exit(main(flow="report"))

from typing import Any

from prefect import flow

from crowdselect_core.config.report import ReportConfig
from crowdselect_core.export.selection_files import REPORT
from tasks import flow_runs
from tasks import report as tasks
from tasks.secrets import lend


@flow(name="report", version=flow_runs.VERSION, persist_result=False)
@flow_runs.told
def report(config: ReportConfig) -> Any:
    """Make the report of a selection again.

    Args:
        config: where the selection lies.
    """
    lend(config)
    found = tasks.selected(config.out)
    tasks.report(found.config, found.inputs, found.texts, again=True)
    return {"lines": [], "files": [REPORT], "stages": []}
