"""The generation flow: many LLMs answer every instruction, and every answer is cached.

Answers are cells of the store, named by the prompt and by all that changes an answer: a run that
is killed resumes, and a model that is added later costs only that model. Keys of endpoints come
from the environment or from Prefect Secret blocks.

Run it as `python -m flows.generate`, deploy it as `flows.generate.generate`.
"""

if __name__ == "__main__":  # before prefect is imported: --help is quick, the console is set up
    import sys

    from flows.cli import main

    sys.exit(main(flow="generate"))

from typing import Any

from prefect import flow

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.export import long_tables
from crowdselect_core.planning import preflight
from crowdselect_core.planning.dry_run import live_forecast
from crowdselect_core.planning.missing_work import MissingWork, answering
from flows import crowd_steps
from tasks import crowd as tasks
from tasks import flow_runs
from tasks.secrets import lend


@flow(name="generate", version=flow_runs.VERSION, persist_result=False)
@flow_runs.tracked
def generate(config: SelectConfig) -> Any:
    """Generate the answers of every model of the crowd to the instructions of a data set.

    Args:
        config: the instructions, the crowd with its engines, and where the results go.
    """
    lend(config)
    config = config.resolved(scores=False)
    missing = answering(config)
    preflight.check_out(config, long_tables.ANSWER_FILES)
    return crowd_steps.repaired(config, lambda config: story(config, missing))


def story(config: SelectConfig, missing: MissingWork) -> dict[str, Any]:
    """Check the endpoints, ask every model, write OUT/responses.parquet."""
    tasks.check_engines(config, missing)
    raw, split, prompts = crowd_steps.prompted(config, missing)
    crowd = crowd_steps.answered(config, missing, prompts)
    written = tasks.export_responses(config, missing, crowd)
    tasks.publish("generation-summary", written["lines"])
    return written | {
        "stages": crowd_steps.stage_summaries(
            [raw, *split.made, prompts, *(a.responses for a in crowd)]
        )
    }


def dry_run(config: SelectConfig) -> list[str]:
    """Say what the flow would have answered."""
    return live_forecast(config, "generate")
