"""A benchmark that is a command of the user's: it prints its results as JSON.

Either metric -> value, such as {"accuracy": 0.71}, or a list of rows, such as [{"metric":
"accuracy", "value": 0.71, "low": 0.66, "high": 0.76, "n": 500}] (also as {"rows": [...]}); low,
high and n may be left out. The whole of stdout is the JSON text, or its last line is.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from crowdselect_core.config.benchmarks import PLACEHOLDERS, CommandBenchmark
from crowdselect_core.errors import EvaluationError
from crowdselect_core.evaluate.result_cells import Measured, ResultCells
from crowdselect_core.processes import user_command
from crowdselect_core.processes.user_command import UserCommand
from crowdselect_core.store.artifacts import Store

MOST_OUTPUT = 4 << 20  # bytes of stdout
MOST_METRICS = 10_000
MOST_NAME = 200  # characters of a metric's name
FIELDS = {"metric", "value", "low", "high", "n"}
EXPECTED = 'expected {"accuracy": 0.71} or [{"metric": ..., "value": ..., "low": ..., "high": ...}]'


def cells(store: Store, config: CommandBenchmark, weights: str) -> ResultCells:
    """Open the cell of a model: named by the command's text, its seed and the weights."""
    identity = {
        "kind": config.kind, "command": config.command, "seed": config.seed, "weights": weights,
    }  # fmt: skip
    return ResultCells(store, identity)


def where(config: CommandBenchmark) -> str:
    """Return how messages name the benchmark."""
    return f"evaluation.benchmarks, {config.name or 'command'}"


def check(config: CommandBenchmark) -> None:
    """Find out before anything is paid for whether the command may and can run here.

    Raises:
        ConfigError: commands are not allowed here, or there is no such program.
    """
    words = user_command.split(where(config), config.command, PLACEHOLDERS)
    user_command.check(where(config), words)


def measure(
    config: CommandBenchmark,
    model: str,
    model_dir: Path,
    work: Path,
    checked: Callable[[], None],
    gpus: Sequence[str] = (),
) -> list[Measured]:
    """Run the command on a model.

    Args:
        config: the command.
        model: its name, for messages.
        model_dir: folder of its weights and tokenizer.
        work: an empty folder; the command works in it and gets a folder below for its output.
        checked: called while it runs; what it raises ends the command.
        gpus: that were lent; none are visible to it where empty.

    Raises:
        CommandFailed: the command failed.
        EvaluationError: it printed no JSON, or something that is no number.
    """
    named = f"{where(config)}: {model}"
    folder, output = work / "work", work / "output"
    folder.mkdir()
    output.mkdir()
    words = user_command.filled(
        user_command.split(named, config.command, PLACEHOLDERS),
        {
            "model_dir": str(model_dir.absolute()),
            "output_dir": str(output.absolute()),
            "seed": str(config.seed),
        },
    )
    command = UserCommand(
        named,
        words,
        folder,
        work / "command.log",
        {"CUDA_VISIBLE_DEVICES": ",".join(gpus)},
        log_stays=False,
    )
    printed = user_command.run(command, checked, MOST_OUTPUT)
    return results_of(named, printed)


def results_of(where: str, printed: str) -> list[Measured]:
    """Read what a command printed.

    Raises:
        EvaluationError: it is no JSON, holds no results, or a value is no finite number.
    """
    told = _json(where, printed)
    if isinstance(told, dict) and set(told) == {"rows"}:
        told = told["rows"]
    results = list(_rows(where, told) if isinstance(told, list) else _pairs(where, told))
    if not results:
        raise EvaluationError(f"{where}: the command printed no metric: {EXPECTED}")
    if len(results) > MOST_METRICS:
        raise EvaluationError(
            f"{where}: the command printed {len(results):,} metrics, expected at most "
            f"{MOST_METRICS:,}"
        )
    names = [one.metric for one in results]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise EvaluationError(f"{where}: the command printed the metric {twice!r} twice")
    return results


def _json(where: str, printed: str) -> Any:
    """Parse the whole text, or its last line where the rest is none."""
    lines = printed.strip().splitlines()
    for text in (printed, lines[-1] if lines else ""):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            continue
    found = f"found {lines[-1][:80]!r}" if lines else "it printed nothing"
    raise EvaluationError(f"{where}: the command printed no JSON, {found}: {EXPECTED}")


def _pairs(where: str, told: Any) -> Iterator[Measured]:
    if not isinstance(told, dict):
        raise EvaluationError(f"{where}: the command printed {_short(told)}: {EXPECTED}")
    for metric, value in told.items():
        yield Measured(_name(where, metric), _number(where, metric, "value", value))


def _rows(where: str, told: list[Any]) -> Iterator[Measured]:
    for place, row in enumerate(told, 1):
        if not isinstance(row, dict) or not {"metric", "value"} <= row.keys():
            raise EvaluationError(
                f"{where}: row {place} that the command printed is {_short(row)}: {EXPECTED}"
            )
        if unknown := sorted(row.keys() - FIELDS):
            raise EvaluationError(
                f"{where}: row {place} that the command printed has the key {unknown[0][:80]!r}, "
                f"expected {', '.join(sorted(FIELDS))}"
            )
        metric = _name(where, row["metric"])
        numbers = {
            field: _number(where, metric, field, row[field])
            for field in ("value", "low", "high")
            if row.get(field) is not None or field == "value"
        }
        n = row.get("n")
        if n is not None and (isinstance(n, bool) or not isinstance(n, int) or n < 0):
            raise EvaluationError(f"{where}: n of {metric!r} is {_short(n)}, expected a count")
        value, low, high = numbers["value"], numbers.get("low"), numbers.get("high")
        yield Measured(metric, value, low, high, n=n or 0)


def _name(where: str, name: Any) -> str:
    if not isinstance(name, str) or not name.strip() or len(name) > MOST_NAME:
        raise EvaluationError(f"{where}: the command printed the metric {_short(name)}")
    return name


def _number(where: str, metric: str, field: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
        raise EvaluationError(
            f"{where}: the {field} of {metric[:80]!r} is {_short(value)}, expected a finite number"
        )
    return float(value)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond all floats
        return False


def _short(value: Any) -> str:
    return repr(value)[:80]
