"""The tasks of an evaluation."""

import logging
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed

from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.evaluate import leaderboard
from crowdselect_core.report.leaderboard import as_lines, as_markdown
from tasks import cancellation
from tasks.stage_task import OPTIONS, state_task

log = logging.getLogger("crowdselect")


@state_task("leaderboard")
def compute(config: EvaluateConfig) -> State[dict[str, Any]]:
    """Compute the results from the judgment files and write OUT/leaderboard.parquet."""
    cancellation.check()
    board = leaderboard.compute(config)
    cancellation.check()
    leaderboard.write(config.out, board.table)
    log.info(
        "%-13s %s results, written to %s", "leaderboard", f"{board.table.height:,}", config.out
    )
    result = {
        "lines": as_lines(board.table, board.notes, config.official),
        "markdown": as_markdown(board.table, board.notes, config.official),
        "files": [leaderboard.FILE],
    }
    return Completed(message=f"written to {config.out}", data=result)


@task(name="publish-leaderboard", **OPTIONS)
def publish(markdown: str) -> None:
    """Show the leaderboard as an artifact in the Prefect UI."""
    create_markdown_artifact(
        markdown, key="leaderboard", description="Every result, with intervals"
    )
