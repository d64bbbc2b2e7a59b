"""The selection flow: from a crowd's scored answers to the best N rows, with a reason for each.

Every stage is kept in the store under a key made of all that changes its content, so a run that
is repeated, or killed and started again, computes only what is missing. Credentials come from the
environment (AWS_*, HF_TOKEN) and stand in no key, log or artifact.

Run it as `python -m flows.select`, deploy it as `flows.select.select`.
"""

if __name__ == "__main__":  # before prefect is imported: --help is quick, the console is set up
    import sys

    from flows.cli import main

    sys.exit(main())

from typing import Any

from prefect import flow
from prefect.states import Cancelled

from crowdselect_core import preflight
from crowdselect_core.config import SelectConfig
from crowdselect_core.errors import Stopped
from crowdselect_core.export.write import Inputs
from crowdselect_core.live import lacking
from flows import live
from tasks import select as tasks
from tasks import stopping
from tasks.logs import connected


@flow(name="select", persist_result=False)
def select(config: SelectConfig) -> Any:
    """Choose the best rows of a data set that a crowd has answered and reward models have scored.

    Answers that the data set lacks are generated first, and scores made.

    Args:
        config: what to choose from, by what, and where the results go.
    """
    config = config.resolved()
    preflight.check(config)
    preflight.check_out(config)
    try:
        with connected(), stopping.watched():
            return live.repaired(config, story)
    except Stopped as stop:
        return Cancelled(message=str(stop))


def story(config: SelectConfig) -> dict[str, Any]:
    """Run the stages in order; each is found in the store or computed."""
    lacks = lacking(config)
    config, made = live.zoo(config, lacks) if lacks else (config, [])
    instructions = tasks.instructions(config)
    preflight.check_data(config, instructions)
    scores = tasks.scores(config, instructions)
    metrics = tasks.metrics(config, scores)
    answers = tasks.answers(config, scores, metrics)
    balanced = preflight.is_balanced(config, instructions)
    embeddings = tasks.embeddings(config, instructions) if balanced else None
    clusters = tasks.clusters(config, embeddings) if embeddings else None
    ranking = tasks.ranking(config, metrics, answers)
    selection = tasks.selection(config, scores, metrics, ranking, clusters)
    wants_pairs = "pairs" in config.export
    pairs = tasks.pairs(config, scores, metrics, selection) if wants_pairs else None
    comparison = tasks.comparison(config, metrics, answers, selection, clusters)

    inputs = Inputs(instructions, scores, metrics, ranking, selection, comparison, clusters, pairs)
    written = tasks.export(config, inputs)
    computed = [instructions, scores, metrics, answers, embeddings, clusters, ranking, selection]
    stages = [ref for ref in (*made, *computed, pairs, comparison) if ref]
    tasks.publish(config, selection, written["summary"], stages)
    return {"summary": written["summary"], "files": written["files"], "stages": live.told(stages)}
