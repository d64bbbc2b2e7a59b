"""The process in which lm-eval runs, by lm-eval's own API.

A script of its own that imports nothing of the project, so that it may run in an environment that
has only lm-eval:

    python lm_eval_process.py REQUEST RESULTS

REQUEST is a JSON object (see `lm_eval_run`), RESULTS gets a line of JSON a task as soon as it is
finished: {"task": ..., "results": {...}, "n": {...}} or {"task": ..., "error": ...}. An error that
concerns all tasks has no task. Weights are loaded once.

Of the model ASKED no weights are loaded: what a task asks is written beside RESULTS as
asked-N.jsonl, a line {"asks": N} tells so, and the answers are waited for in answers-N.jsonl.
"""

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from time import sleep
from typing import Any

ASKED = "asked"  # the model that the run's own engine answers for
POLL = 0.1  # seconds between two looks for answers
TEXT_ONLY = (
    "needs log-likelihoods, and here an engine answers, which gives texts alone: leave the task "
    "out, or measure a model whose weights are here, without use_engine"
)

Say = Callable[[Mapping[str, Any]], None]


def file_of(what: str, number: int) -> str:
    """Return the name of a file of requests (`asked`) or answers."""
    return f"{what}-{number}.jsonl"


def main(request: Mapping[str, Any], say: Say, folder: Path) -> None:
    """Run the tasks of a request, one after the other; `folder` is for requests and answers."""
    try:
        from lm_eval.api.registry import get_model

        manager = _manager(request["include_path"], set(request["tasks"]))
        for task in request["tasks"]:
            if task not in manager.all_tasks:
                close = get_close_matches(task, manager.all_tasks, n=1, cutoff=0.5)
                say({"error": f"has no task {task!r}", "close": close})
                return
        specs = {task: _specs(manager, task, request["data_files"]) for task in request["tasks"]}
        if request["model"] == ASKED:
            if scored := _scored(manager, specs):
                say({"task": scored, "error": TEXT_ONLY})
                return
            model = asked_model(folder, say, request["options"]["apply_chat_template"])
        else:
            model = get_model(request["model"]).create_from_arg_obj(
                request["model_args"], {"batch_size": request["batch_size"]}
            )
    except Exception as e:  # whatever a model, or the code of a task, raises of itself
        say({"error": _told(e)})
        raise
    for task in request["tasks"]:
        try:
            say({"task": task, **_run(model, manager, specs[task], request["options"])})
        except Exception as e:
            say({"task": task, "error": _told(e)})
            raise


def _manager(include: str | None, tasks: set[str]) -> Any:
    """Return a manager that knows the tasks, if lm-eval does.

    The index of all of lm-eval's own tasks takes many seconds: it is the last resort, after the
    folder of the config, and the folders of lm-eval that are named like the tasks.
    """
    import lm_eval.tasks

    manager = lm_eval.tasks.TaskManager(include_path=include, include_defaults=False)
    if tasks.issubset(manager.all_tasks):
        return manager
    place = Path(str(lm_eval.tasks.__file__)).parent
    folders = [str(place / task) for task in sorted(tasks) if (place / task).is_dir()]
    folders += [include] if include else []
    manager = lm_eval.tasks.TaskManager(include_path=folders, include_defaults=False)
    if tasks.issubset(manager.all_subtasks):  # a group may have members elsewhere
        return manager
    return lm_eval.tasks.TaskManager(include_path=include)


def _specs(manager: Any, task: str, data_files: Mapping[str, Mapping[str, str]]) -> list[Any]:
    """Return a task by its name, or loaded with files in place of its data."""
    if task not in data_files:
        return [task]
    own = {
        "task": task,
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": dict(data_files[task])},
    }
    # Only as a member of a group is a task of lm-eval's own taken with other keys.
    return list(manager.load({"group": f"{task} of files", "task": [own]})["tasks"].values())


def _scored(manager: Any, specs: Mapping[str, list[Any]]) -> str | None:
    """Return the first task that asks for more than texts."""
    for task, own in specs.items():
        kinds = {one.OUTPUT_TYPE for one in manager.load(own)["tasks"].values()}
        if kinds != {"generate_until"}:
            return task
    return None


def asked_model(folder: Path, say: Say, in_chat: bool) -> Any:
    """Return a model whose answers come from outside.

    Args:
        folder: where requests and answers go.
        say: told of a file of requests.
        in_chat: whether prompts are chats, else each is the turn of a user.
    """
    from lm_eval.api.model import LM

    class AskedModel(LM):  # type: ignore[misc]
        number = 0
        tokenizer_name = ""

        def generate_until(self, requests: Sequence[Any]) -> list[str]:
            self.number += 1
            lines = [json.dumps(_request(one, in_chat)) + "\n" for one in requests]
            (folder / file_of("asked", self.number)).write_text("".join(lines), "utf-8")
            answers = folder / file_of("answers", self.number)
            say({"asks": self.number})
            while not answers.exists():
                sleep(POLL)
            return list(json.loads(answers.read_text("utf-8")))

        def apply_chat_template(
            self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
        ) -> str:
            if not add_generation_prompt:
                raise ValueError("the task begins the answer itself, which an engine cannot go on")
            return json.dumps(chat_history)

        def loglikelihood(self, requests: Sequence[Any]) -> Any:
            raise NotImplementedError(TEXT_ONLY)

        loglikelihood_rolling = loglikelihood

    return AskedModel()


def _request(asked: Any, in_chat: bool) -> dict[str, Any]:
    context, sampling = asked.args[0], asked.args[1]
    messages = json.loads(context) if in_chat else [{"role": "user", "content": context}]
    return {"task": asked.task_name, "messages": messages, "sampling": sampling}


def _run(model: Any, manager: Any, tasks: list[Any], options: Mapping[str, Any]) -> dict[str, Any]:
    from lm_eval import simple_evaluate

    found = simple_evaluate(
        model=model, tasks=tasks, task_manager=manager, log_samples=False, **options
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

        place = Path(sys.argv[2])
        main(json.loads(Path(sys.argv[1]).read_text("utf-8")), write, place.parent)
