"""The process in which lm-eval runs, by lm-eval's own API.

A script of its own that imports nothing of the project, so that it may run in an environment that
has only lm-eval:

    python lm_eval_process.py REQUEST RESULTS

REQUEST is a JSON object (see `lm_eval_tasks.request`), RESULTS gets a line of JSON a task as soon
as it is finished: {"task": ..., "results": {...}, "n": {...}} or {"task": ..., "error": ...}. An
error that concerns all tasks has no task. Weights are loaded once.
"""

import json
import math
import sys
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

Say = Callable[[Mapping[str, Any]], None]


def main(request: Mapping[str, Any], say: Say) -> None:
    """Run the tasks of a request, one after the other."""
    try:
        from lm_eval.api.registry import get_model
        from lm_eval.tasks import TaskManager

        # The index of lm-eval's own tasks takes seconds: only where one of them is asked for.
        include, tasks = request["include_path"], set(request["tasks"])
        manager = TaskManager(include_path=include, include_defaults=False)
        if not tasks.issubset(manager.all_tasks):
            manager = TaskManager(include_path=include)
        for task in request["tasks"]:
            if task not in manager.all_tasks:
                close = get_close_matches(task, manager.all_tasks, n=1, cutoff=0.5)
                say({"error": f"has no task {task!r}", "close": close})
                return
        model = get_model(request["model"]).create_from_arg_obj(
            request["model_args"], {"batch_size": request["batch_size"]}
        )
    except Exception as e:  # whatever a model, or the code of a task, raises of itself
        say({"error": _told(e)})
        raise
    for task in request["tasks"]:
        try:
            say({"task": task, **_run(model, manager, task, request["options"])})
        except Exception as e:
            say({"task": task, "error": _told(e)})
            raise


def _run(model: Any, manager: Any, task: str, options: Mapping[str, Any]) -> dict[str, Any]:
    from lm_eval import simple_evaluate

    found = simple_evaluate(
        model=model, tasks=[task], task_manager=manager, log_samples=False, **options
    )
    counts = {name: count["effective"] for name, count in found["n-samples"].items()}
    results = {
        name: {metric: _number(value) for metric, value in metrics.items()}
        for name, metrics in found["results"].items()
    }
    lengths = {name: metrics.get("sample_len") for name, metrics in found["results"].items()}
    return {"results": results, "n": {name: counts.get(name, lengths[name]) for name in results}}


def _number(value: Any) -> float | str | None:
    """Return a number as JSON has it: numpy's as Python's, one that is not finite as null."""
    if isinstance(value, str) or value is None:
        return value
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _told(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" *")]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


if __name__ == "__main__":
    with Path(sys.argv[2]).open("a", encoding="utf-8") as file:

        def write(line: Mapping[str, Any]) -> None:
            file.write(json.dumps(line, allow_nan=False) + "\n")
            file.flush()

        main(json.loads(Path(sys.argv[1]).read_text("utf-8")), write)
