"""The tasks that end an evaluation: the leaderboard, of live benchmarks or of judgment files."""

import logging
from dataclasses import asdict
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed

from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.evaluate import leaderboard, out_files
from crowdselect_core.evaluate.judging.calibration import Calibration
from crowdselect_core.evaluate.tally import Outcome, by_benchmark
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
    return _written(config, board.table, board.notes)


@state_task("leaderboard")
def board(
    config: EvaluateConfig,
    outcomes: list[tuple[str, Outcome]],
    calibrations: list[Calibration],
    warned: list[str],
) -> State[dict[str, Any]]:
    """Write the results of all benchmarks to OUT/leaderboard.parquet and OUT/evaluation.json."""
    by_name = by_benchmark(outcomes)
    reported = [outcome.snapshots for _, outcome in outcomes]
    reported += [{c.judge: c.snapshot} for c in calibrations if c.snapshot is not None]
    snapshots = leaderboard.one_snapshot(reported)
    notes = [*warned, *(c.note for c in calibrations)]
    notes += [note for outcome in by_name.values() for note in outcome.notes]
    notes = list(dict.fromkeys(notes))
    told = {"judges": snapshots, "calibration": [asdict(c) for c in calibrations], "notes": notes}
    written = _written(config, leaderboard.table_of(by_name), notes)
    out_files.end(config.out, list(by_name), told)
    return written


@task(name="publish-leaderboard", **OPTIONS)
def publish(markdown: str) -> None:
    """Show the leaderboard as an artifact in the Prefect UI."""
    create_markdown_artifact(
        markdown, key="leaderboard", description="Every result, with intervals"
    )


def _written(config: EvaluateConfig, table: Any, notes: list[str]) -> State[dict[str, Any]]:
    """Write the leaderboard, and return what is shown of it."""
    leaderboard.write(config.out, table)
    log.info("%-13s %s results, written to %s", "leaderboard", f"{table.height:,}", config.out)
    result = {
        "lines": as_lines(table, notes, config.official),
        "markdown": as_markdown(table, notes, config.official),
        "files": [leaderboard.FILE],
    }
    return Completed(message=f"written to {config.out}", data=result)
