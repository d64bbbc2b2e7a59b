"""The scoring flow: reward models score every answer of the crowd.

Answers that the data set lacks are generated first. A score is a cell of the store, named by the
prompt, the answer's text and all that changes a score: another reward model costs only its own.

Run it as `python -m flows.score`, deploy it as `flows.score.score`.
"""

if __name__ == "__main__":  # before prefect is imported: --help is quick, the console is set up
    import sys

    from flows.cli import main

    sys.exit(main(flow="score"))

from typing import Any

from prefect import flow

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.export import long_tables
from crowdselect_core.planning import preflight
from crowdselect_core.planning.dry_run import live_forecast
from crowdselect_core.planning.missing_work import MissingWork, scoring
from flows import crowd_steps
from tasks import crowd as tasks
from tasks import flow_runs
from tasks.secrets import lend


@flow(name="score", version=flow_runs.VERSION, persist_result=False)
@flow_runs.tracked
def score(config: SelectConfig) -> Any:
    """Have every reward model score the answers of the crowd.

    Args:
        config: the data set, the crowd, the reward models, and where the results go.
    """
    lend(config)
    config = config.resolved()
    missing = scoring(config)
    preflight.check_out(config, long_tables.SCORE_FILES)
    return crowd_steps.repaired(config, lambda config: story(config, missing))


def story(config: SelectConfig, missing: MissingWork) -> dict[str, Any]:
    """Check the reward models, have the answers made and scored, write OUT/scores.parquet."""
    tasks.check_engines(config, missing)
    tasks.check_scorers(config, missing)
    raw, split, prompts = crowd_steps.prompted(config, missing)
    crowd = crowd_steps.answered(config, missing, prompts)
    members = crowd_steps.scored(config, missing, crowd)
    written = tasks.export_scores(config, members)
    tasks.publish("scoring-summary", written["lines"])
    refs = [a.responses for a in crowd] + [s.rewards for m in members for s in m.scored]
    return written | {"stages": crowd_steps.stage_summaries([raw, *split.made, prompts, *refs])}


def dry_run(config: SelectConfig) -> list[str]:
    """Say what the flow would have answered and scored."""
    return live_forecast(config, "score")
