"""The results of lm-eval's tasks as lines of the leaderboard.

The metrics are lm-eval's, named TASK/METRIC: `gsm8k/exact_match,strict-match`, and without the
filter where that is `none`. The interval is the normal one of lm-eval's standard error:

    value - 1.96 stderr, value + 1.96 stderr
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from crowdselect_core.errors import EvaluationError
from crowdselect_core.evaluate.result_cells import Measured

NORMAL_95 = 1.959964  # standard errors on each side of a normal 95 % interval
NOT_METRICS = {"alias", "name", "sample_len", "sample_count"}


def results_of(
    named: str, line: str, refused: Mapping[str, int] = MappingProxyType({})
) -> tuple[str, list[Measured]]:
    """Read a line that the process wrote: the results of a task, or an error.

    Args:
        named: the benchmark and the model, for messages.
        line: of JSON, see `lm_eval_process`.
        refused: prompts without an answer, by the task that asked them; a group has those of all.

    Raises:
        EvaluationError: it is an error.
    """
    told = json.loads(line)
    if "error" in told:
        of = f"task {told['task']}: " if "task" in told else ""
        close = f", did you mean {told['close'][0]!r}?" if told.get("close") else ""
        raise EvaluationError(f"{named}: lm-eval {of}{told['error']}{close}")
    found: list[Measured] = []
    for task, metrics in told["results"].items():
        without = sum(refused.values()) if task == told["task"] else refused.get(task, 0)
        found += _measured(task, metrics, int(told["n"].get(task) or 0), without)
    return str(told["task"]), found


def refusals(where: str, model: str, measured: Sequence[Measured]) -> list[str]:
    """Return a note on every task some of whose prompts have no answer.

    Args:
        where: the benchmark.
        model: its name.
        measured: the results of all tasks.
    """
    tasks = {one.metric.partition("/")[0]: one for one in measured if one.unparsed}
    return [
        f"{where}: {model}: {one.unparsed:,} answers of {task} (n {one.n:,}) were refused for "
        "good and count as empty ones"
        for task, one in tasks.items()
    ]


def _measured(task: str, metrics: Mapping[str, Any], n: int, without: int) -> Iterator[Measured]:
    for name, value in metrics.items():
        metric, _, filtered = name.partition(",")
        if name in NOT_METRICS or metric.endswith("_stderr") or isinstance(value, str):
            continue
        error = metrics.get(f"{metric}_stderr,{filtered}")
        low = high = None
        if value is not None and isinstance(error, float):
            low, high = value - NORMAL_95 * error, value + NORMAL_95 * error
        yield Measured(f"{task}/{name.removesuffix(',none')}", value, low, high, n, without)
