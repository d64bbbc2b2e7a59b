"""Tasks of lm-eval on one model, run by the package lm-eval in a process of its own.

The metrics are lm-eval's, named TASK/METRIC: `gsm8k/exact_match,strict-match`, and without the
filter where that is `none`. The interval is the normal one of lm-eval's standard error:

    value - 1.96 stderr, value + 1.96 stderr

Every finished task is a cell of the store, named by the weights, the arguments, the files of
`include_path` and lm-eval's version.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from time import sleep
from typing import Any

from crowdselect_core.config.benchmarks import LmEvalBenchmark
from crowdselect_core.errors import ConfigError, EvaluationError
from crowdselect_core.evaluate import lm_eval_process
from crowdselect_core.evaluate.result_cells import Measured, ResultCells
from crowdselect_core.processes.log_lines import last_lines, log_lines
from crowdselect_core.processes.supervised import SupervisedProcess
from crowdselect_core.processes.user_command import check_allowed
from crowdselect_core.store.artifacts import Store
from crowdselect_core.util.file_hash import file_sha256
from crowdselect_core.util.versions import version_of

NORMAL_95 = 1.959964  # standard errors on each side of a normal 95 % interval
POLL = 0.2  # seconds between two looks at the process
NOT_METRICS = {"alias", "name", "sample_len", "sample_count"}
INSTALL = "pip install 'crowdselect[lm-eval]'"
VERSION_CODE = "import importlib.metadata as m; print(m.version('lm_eval'))"


@dataclass(frozen=True)
class HarnessModel:
    """A model as lm-eval runs it.

    Args:
        name: in the leaderboard and in messages.
        identity: of the weights.
        model: lm-eval's name of what runs it.
        model_args: lm-eval's arguments of it.
        environment: variables of the process beside those of this one.
    """

    name: str
    identity: str
    model: str
    model_args: Mapping[str, Any]
    environment: Mapping[str, str] = field(default_factory=dict)


def hf_model(
    config: LmEvalBenchmark,
    name: str,
    identity: str,
    source: str,
    revision: str | None = None,
    adapter: Path | None = None,
    gpus: Sequence[str] = (),
) -> HarnessModel:
    """Return a model that lm-eval runs by transformers.

    Args:
        config: the benchmark.
        name: of the model.
        identity: of the weights.
        source: folder or hub id.
        revision: of a hub id.
        adapter: folder of a PEFT adapter.
        gpus: that were lent; the processor where empty.
    """
    arguments: dict[str, Any] = {
        "pretrained": str(Path(source).absolute()) if Path(source).is_dir() else source,
        "dtype": config.dtype,
        "device": "cuda:0" if gpus else "cpu",
        "trust_remote_code": False,
    }
    if revision is not None:
        arguments["revision"] = revision
    if adapter is not None:
        arguments["peft"] = str(adapter.absolute())
        if (adapter / "tokenizer_config.json").is_file():
            arguments["tokenizer"] = str(adapter.absolute())
    return HarnessModel(name, identity, "hf", arguments, {"CUDA_VISIBLE_DEVICES": ",".join(gpus)})


def cells(store: Store, config: LmEvalBenchmark, weights: str) -> ResultCells:
    """Open the cells of a model, one a task.

    Raises:
        ConfigError: see `harness_version`.
    """
    identity = {
        "kind": config.kind,
        "weights": weights,
        "dtype": config.dtype,
        "options": _options(config),
        "lm_eval": harness_version(config),
        "include": _folder_sha256(config.include_path) if config.include_path else None,
    }
    return ResultCells(store, identity)


def stored(store: Store, config: LmEvalBenchmark, weights: str) -> list[Measured] | None:
    """Return the results of all tasks on a model; None where one of them was not run."""
    kept = cells(store, config, weights)
    found = [kept.find(task) for task in config.tasks]
    if any(results is None for results in found):
        return None
    return [one for results in found for one in results or ()]


def check(config: LmEvalBenchmark) -> None:
    """Find out before anything is paid for whether lm-eval and the folders are there.

    Raises:
        ConfigError: they are not.
    """
    harness_version(config)
    for key in ("include_path", "nltk_data"):
        path = getattr(config, key)
        if path is not None and not Path(path).is_dir():
            raise ConfigError(f"{where(config)}: {key} {path!r} is no folder here")


def where(config: LmEvalBenchmark) -> str:
    """Return how messages name the benchmark."""
    return f"evaluation.benchmarks, {config.name or 'lm-eval'}"


def harness_version(config: LmEvalBenchmark) -> str:
    """Return the version of lm-eval that runs.

    Both an interpreter of the config and a folder of tasks are code that this machine runs.

    Raises:
        ConfigError: there is none; python or include_path is set, and this process may run no
            command of a config.
    """
    for key in ("python", "include_path"):
        if getattr(config, key) is not None:
            check_allowed(f"{where(config)}: {key}")
    if config.python is None:
        if find_spec("lm_eval") is None:
            raise ConfigError(f"{where(config)}: needs lm-eval: {INSTALL}")
        return version_of("lm_eval")
    try:
        told = subprocess.run(  # noqa: S603 - the interpreter of the config
            [config.python, "-c", VERSION_CODE], capture_output=True, text=True, timeout=60,
            check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        raise ConfigError(
            f"{where(config)}: python {config.python!r} does not run, or has no lm-eval: give the "
            "interpreter of an environment with lm-eval, or leave python out"
        ) from None
    return told.stdout.strip()


def measure(
    store: Store,
    config: LmEvalBenchmark,
    model: HarnessModel,
    work: Path,
    report: Callable[[int, int], None],
) -> list[Measured]:
    """Return the results of every task, running those that the store lacks.

    Args:
        store: where results are kept.
        config: the benchmark.
        model: what is tested.
        work: an empty folder.
        report: called several times a second with (tasks done, tasks in all); what it raises ends
            the process, and finished tasks stay.

    Raises:
        EvaluationError: lm-eval knows no such task, or fails.
        ConfigError: there is no lm-eval.
    """
    kept = cells(store, config, model.identity)
    found = {task: kept.find(task) for task in config.tasks}
    missing = [task for task, results in found.items() if results is None]
    if missing:
        for task, results in _run(config, model, missing, work, report):
            kept.keep(task, results)
            found[task] = results
    return [one for results in found.values() for one in results or ()]


def _run(
    config: LmEvalBenchmark,
    model: HarnessModel,
    tasks: Sequence[str],
    work: Path,
    report: Callable[[int, int], None],
) -> Iterator[tuple[str, list[Measured]]]:
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
    done = 0
    try:
        process.start()
        with results.open(encoding="utf-8") as lines:
            while True:
                running = process.runs()
                report(len(config.tasks) - len(tasks) + done, len(config.tasks))
                for line in _whole_lines(lines):
                    yield _results(named, line)
                    done += 1
                if not running:
                    break
                sleep(POLL)
    finally:
        process.end()
    if done < len(tasks):
        last = last_lines(log_lines(log))
        raise EvaluationError(f"{named}: lm-eval ended with exit code {process.exit_code}\n{last}")


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
        "options": _options(config),
    }


def _options(config: LmEvalBenchmark) -> dict[str, Any]:
    """Return the arguments of lm-eval's `simple_evaluate` that change a result."""
    return {
        "limit": config.limit,
        "num_fewshot": config.num_fewshot,
        "apply_chat_template": config.apply_chat_template,
        "fewshot_as_multiturn": config.apply_chat_template and config.fewshot_as_multiturn,
        "system_instruction": config.system_instruction,
        "gen_kwargs": config.gen_kwargs or None,
    }


def _results(named: str, line: str) -> tuple[str, list[Measured]]:
    told = json.loads(line)
    if "error" in told:
        of = f"task {told['task']}: " if "task" in told else ""
        close = f", did you mean {told['close'][0]!r}?" if told.get("close") else ""
        raise EvaluationError(f"{named}: lm-eval {of}{told['error']}{close}")
    found: list[Measured] = []
    for task, metrics in told["results"].items():
        found += _measured(task, metrics, int(told["n"].get(task) or 0))
    return str(told["task"]), found


def _measured(task: str, metrics: Mapping[str, Any], n: int) -> Iterator[Measured]:
    for name, value in metrics.items():
        metric, _, filtered = name.partition(",")
        if name in NOT_METRICS or metric.endswith("_stderr") or isinstance(value, str):
            continue
        error = metrics.get(f"{metric}_stderr,{filtered}")
        low = high = None
        if value is not None and isinstance(error, float):
            low, high = value - NORMAL_95 * error, value + NORMAL_95 * error
        yield Measured(f"{task}/{name.removesuffix(',none')}", value, low, high, n)


def _folder_sha256(folder: str) -> str:
    """Return the sha256 over the names and contents of a folder's files."""
    whole = sha256()
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            name = path.relative_to(folder).as_posix().encode("utf-8", "surrogateescape")
            whole.update(name + b"\0" + bytes.fromhex(file_sha256(path)))
    return whole.hexdigest()
