"""Tasks of lm-eval on one model, each run once.

A finished task is a cell of the store, named by the weights (or by what an engine answers by), the
arguments, the files of `include_path` and `data_files`, and lm-eval's version.
"""

import subprocess
from collections.abc import Mapping, Sequence
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from crowdselect_core.config.benchmarks import LmEvalBenchmark
from crowdselect_core.errors import ConfigError
from crowdselect_core.evaluate.lm_eval_run import HarnessModel, Report, options_of, run, where
from crowdselect_core.evaluate.result_cells import Measured, ResultCells
from crowdselect_core.processes.user_command import check_allowed
from crowdselect_core.store.artifacts import Store
from crowdselect_core.util.extras import install
from crowdselect_core.util.file_hash import file_sha256
from crowdselect_core.util.versions import version_of

VERSION_CODE = "import importlib.metadata as m; print(m.version('lm_eval'))"


def local_identity(config: LmEvalBenchmark, weights: str) -> dict[str, Any]:
    """Return the identity of a model that lm-eval runs by transformers."""
    return {"weights": weights, "dtype": config.dtype}


def hf_model(
    config: LmEvalBenchmark,
    name: str,
    weights: str,
    source: str,
    revision: str | None = None,
    adapter: Path | None = None,
    gpus: Sequence[str] = (),
    system_prompt: str | None = None,
) -> HarnessModel:
    """Return a model that lm-eval runs by transformers.

    Args:
        config: the benchmark.
        name: of the model.
        weights: their identity.
        source: folder or hub id.
        revision: of a hub id.
        adapter: folder of a PEFT adapter.
        gpus: that were lent; the processor where empty.
        system_prompt: precedes every prompt.
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
    visible = {"CUDA_VISIBLE_DEVICES": ",".join(gpus)}
    return HarnessModel(
        name, local_identity(config, weights), "hf", arguments, visible, system_prompt=system_prompt
    )


def cells(
    store: Store,
    config: LmEvalBenchmark,
    model: Mapping[str, Any],
    system_prompt: str | None = None,
) -> ResultCells:
    """Open the cells of a model, one a task.

    Args:
        store: where results are kept.
        config: the benchmark.
        model: its identity, see `HarnessModel`.
        system_prompt: that it is asked with.

    Raises:
        ConfigError: see `harness_version`.
    """
    identity: dict[str, Any] = {
        "kind": config.kind,
        **model,
        "options": options_of(config, system_prompt),
        "lm_eval": harness_version(config),
        "include": _folder_sha256(config.include_path) if config.include_path else None,
    }
    if config.data_files:
        identity["data_files"] = {
            task: {split: file_sha256(Path(file)) for split, file in sorted(files.items())}
            for task, files in sorted(config.files_by_split.items())
        }
    return ResultCells(store, identity)


def stored(
    store: Store,
    config: LmEvalBenchmark,
    model: Mapping[str, Any],
    system_prompt: str | None = None,
) -> list[Measured] | None:
    """Return the results of all tasks on a model; None where one of them was not run."""
    kept = cells(store, config, model, system_prompt)
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
    for task, files in config.files_by_split.items():
        for file in files.values():
            if not Path(file).is_file():
                raise ConfigError(f"{where(config)}: data_files of {task}: no such file {file!r}")


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
            raise ConfigError(
                f"{where(config)}: needs lm-eval, which is not installed: {install('lm-eval')}"
            )
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
    report: Report,
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
    kept = cells(store, config, model.identity, model.system_prompt)
    found = {task: kept.find(task) for task in config.tasks}
    missing = [task for task, results in found.items() if results is None]
    if missing:
        for task, results in run(config, model, missing, work, report):
            kept.keep(task, results)
            found[task] = results
    return [one for results in found.values() for one in results or ()]


def _folder_sha256(folder: str) -> str:
    """Return the sha256 over the names and contents of a folder's files."""
    whole = sha256()
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            name = path.relative_to(folder).as_posix().encode("utf-8", "surrogateescape")
            whole.update(name + b"\0" + bytes.fromhex(file_sha256(path)))
    return whole.hexdigest()
