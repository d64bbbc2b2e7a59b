"""lm-eval in a process of its own: what it is asked to run, and its results as they come."""

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import sleep
from typing import Any

from crowdselect_core.config.benchmarks import LmEvalBenchmark
from crowdselect_core.errors import EvaluationError
from crowdselect_core.evaluate import lm_eval_process
from crowdselect_core.evaluate.lm_eval_results import results_of
from crowdselect_core.evaluate.result_cells import Measured
from crowdselect_core.processes.log_lines import last_lines, log_lines
from crowdselect_core.processes.supervised import SupervisedProcess

POLL = 0.2  # seconds between two looks at the process

# None: refused for good; the task scores an empty answer then
Answers = Callable[[Sequence[Mapping[str, Any]]], Sequence[str | None]]
Report = Callable[[int, int], None]


@dataclass(frozen=True)
class HarnessModel:
    """A model as lm-eval runs it.

    Args:
        name: in the leaderboard and in messages.
        identity: of what answers: weights and number format, or an engine's.
        model: lm-eval's name of what runs it; `lm_eval_process.ASKED`: its engine, by `answers`.
        model_args: lm-eval's arguments of it.
        environment: variables of the process beside those of this one.
        answers: has the model's engine answer the requests of a task.
        system_prompt: precedes every prompt, unless the benchmark has a system_instruction.
    """

    name: str
    identity: Mapping[str, Any]
    model: str
    model_args: Mapping[str, Any]
    environment: Mapping[str, str] = field(default_factory=dict)
    answers: Answers | None = None
    system_prompt: str | None = None


def where(config: LmEvalBenchmark) -> str:
    """Return how messages name the benchmark."""
    return f"evaluation.benchmarks, {config.name or 'lm-eval'}"


def options_of(config: LmEvalBenchmark, system_prompt: str | None = None) -> dict[str, Any]:
    """Return the arguments of lm-eval's `simple_evaluate` that change a result."""
    system = config.system_instruction
    return {
        "limit": config.limit,
        "num_fewshot": config.num_fewshot,
        "apply_chat_template": config.apply_chat_template,
        "fewshot_as_multiturn": config.apply_chat_template and config.fewshot_as_multiturn,
        "system_instruction": system_prompt if system is None else system,
        "gen_kwargs": config.gen_kwargs or None,
    }


def run(
    config: LmEvalBenchmark,
    model: HarnessModel,
    tasks: Sequence[str],
    work: Path,
    report: Report,
) -> Iterator[tuple[str, list[Measured]]]:
    """Run tasks on a model and yield the results of each as soon as it is finished.

    Args:
        config: the benchmark.
        model: what is tested.
        tasks: those of the benchmark that are run.
        work: an empty folder.
        report: see `lm_eval_tasks.measure`.

    Raises:
        EvaluationError: lm-eval knows no such task, or fails.
    """
    named = f"{where(config)}: {model.name}"
    request, results, log = (work / n for n in ("request.json", "results.jsonl", "lm-eval.log"))
    request.write_text(json.dumps(_request(config, model, tasks)), "utf-8")
    results.write_bytes(b"")
    words = [config.python or sys.executable, lm_eval_process.__file__, request, results]
    environment = {**os.environ, **model.environment, "TOKENIZERS_PARALLELISM": "false"}
    if config.nltk_data is not None:
        environment["NLTK_DATA"] = str(Path(config.nltk_data).absolute())
    # In the folder of the run: tasks of one's own name data files relative to it.
    process = SupervisedProcess(named, [str(w) for w in words], environment, log, lambda: True)
    done, refused = 0, Counter[str]()
    try:
        process.start()
        with results.open(encoding="utf-8") as lines:
            while True:
                running = process.runs()
                report(len(config.tasks) - len(tasks) + done, len(config.tasks))
                for line in _whole_lines(lines):
                    if _answered(json.loads(line), model, work, refused):
                        continue
                    yield results_of(named, line, refused)
                    refused.clear()
                    done += 1
                if not running:
                    break
                sleep(POLL)
    finally:
        process.end()
    if done < len(tasks):
        last = last_lines(log_lines(log))
        raise EvaluationError(f"{named}: lm-eval ended with exit code {process.exit_code}\n{last}")


def _answered(
    line: Mapping[str, Any], model: HarnessModel, work: Path, refused: Counter[str]
) -> bool:
    """Answer the requests of a task, if the line names a file of them; count those refused."""
    if "asks" not in line or model.answers is None:
        return False
    number = int(line["asks"])
    asked, given = (work / lm_eval_process.file_of(name, number) for name in ("asked", "answers"))
    requests = [json.loads(one) for one in asked.read_text("utf-8").splitlines()]
    texts = model.answers(requests)
    refused.update(one["task"] for one, text in zip(requests, texts, strict=True) if text is None)
    part = given.with_suffix(".part")
    part.write_text(json.dumps([text or "" for text in texts]), "utf-8")
    part.rename(given)  # it appears whole
    return True


def _whole_lines(lines: Any) -> Iterator[str]:
    """Yield the lines that are complete; the beginning of another one is left for later."""
    while True:
        at = lines.tell()
        line = lines.readline()
        if not line.endswith("\n"):
            lines.seek(at)
            return
        yield line


def _request(config: LmEvalBenchmark, model: HarnessModel, tasks: Sequence[str]) -> dict[str, Any]:
    include = config.include_path and str(Path(config.include_path).absolute())
    return {
        "tasks": list(tasks),
        "model": model.model,
        "model_args": dict(model.model_args),
        "batch_size": config.batch_size,
        "include_path": include,
        "data_files": {
            task: {split: str(Path(file).absolute()) for split, file in files.items()}
            for task, files in config.files_by_split.items()
        },
        "options": options_of(config, model.system_prompt),
    }
