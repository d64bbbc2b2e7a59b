"""The report flow: make OUT/report.html again from what an earlier run left.

Of a selection everything comes from OUT/manifest.json and the store that it names, of an experiment
from the tables in OUT; nothing is computed again.

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
from crowdselect_core.report.experiment_page.writing import is_experiment
from tasks import experiment, flow_runs
from tasks import report as tasks
from tasks.secrets import lend


@flow(name="report", version=flow_runs.VERSION, persist_result=False)
@flow_runs.tracked
def report(config: ReportConfig) -> Any:
    """Make the report of a selection or of an experiment again.

    Args:
        config: where it lies.
    """
    lend(config)
    if is_experiment(config.out):
        experiment.report(config.out)
        return {"lines": [], "files": [REPORT], "stages": []}
    found = tasks.selected(config.out)
    tasks.report(found.config, found.inputs, found.texts, again=True)
    return {"lines": [], "files": [REPORT], "stages": []}
