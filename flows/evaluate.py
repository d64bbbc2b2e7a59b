"""The evaluation flow: a benchmark's results, with intervals, from judgment files.

No model is asked, and nothing is cached: the same files give the same leaderboard.

Run it as `python -m flows.evaluate`, deploy it as `flows.evaluate.evaluate`.
"""

if __name__ == "__main__":  # before prefect is imported: --help is quick, the console is set up
    import sys

    from flows.cli import main

    sys.exit(main(flow="evaluate"))

from typing import Any

from prefect import flow

from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.evaluate.leaderboard import check_out
from tasks import evaluate as tasks
from tasks import flow_runs
from tasks.secrets import lend


@flow(name="evaluate", version=flow_runs.VERSION, persist_result=False)
@flow_runs.told
def evaluate(config: EvaluateConfig) -> Any:
    """Compute a leaderboard from judgments of MT-Bench or Arena-Hard.

    Args:
        config: the judgments, the benchmark, and where the leaderboard goes.
    """
    lend(config)
    config = config.resolved()
    check_out(config.out)
    board = tasks.compute(config)
    tasks.publish(board["markdown"])
    return {"lines": board["lines"], "files": board["files"], "stages": []}
