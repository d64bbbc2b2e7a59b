"""A benchmark that is a command: what it may print, and that it runs once."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from crowdselect_core.config.benchmarks import CommandBenchmark
from crowdselect_core.errors import ConfigError, EvaluationError
from crowdselect_core.evaluate import command_benchmark
from crowdselect_core.evaluate.command_benchmark import results_of
from crowdselect_core.evaluate.result_cells import Measured
from crowdselect_core.processes.user_command import CommandFailed
from crowdselect_core.store.artifacts import Store

SCRIPT = """
import json, pathlib, sys
model, output, seed = sys.argv[1:]
pathlib.Path(output, "answers.txt").write_text("ant")
print("loading", file=sys.stdout)
size = len(pathlib.Path(model, "config.json").read_text())
print(json.dumps({"size": size, "seed": int(seed)}))
"""


def benchmark(command: str, **keys: Any) -> CommandBenchmark:
    return CommandBenchmark(kind="command", command=command, **keys)


def test_a_command_measures_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script, model = tmp_path / "measure.py", tmp_path / "model"
    script.write_text(SCRIPT)
    model.mkdir()
    (model / "config.json").write_text("12345")
    config = benchmark(f"{sys.executable} {script} {{model_dir}} {{output_dir}} {{seed}}", seed=7)
    monkeypatch.delenv("CROWDSELECT_ALLOW_COMMANDS", raising=False)
    with pytest.raises(ConfigError, match="CROWDSELECT_ALLOW_COMMANDS=1"):
        command_benchmark.check(config)
    monkeypatch.setenv("CROWDSELECT_ALLOW_COMMANDS", "1")
    command_benchmark.check(config)
    (tmp_path / "run").mkdir()
    found = command_benchmark.measure(config, "tiny", model, tmp_path / "run", lambda: None)
    assert found == [Measured("size", 5.0), Measured("seed", 7.0)]
    assert (tmp_path / "run" / "output" / "answers.txt").read_text() == "ant"

    store = Store(str(tmp_path / "store"))
    command_benchmark.cells(store, config, "sha256:1").keep("", found)
    assert command_benchmark.cells(store, config, "sha256:1").find("") == found
    assert command_benchmark.cells(store, config, "sha256:2").find("") is None
    reseeded = config.model_copy(update={"seed": 8})
    assert command_benchmark.cells(store, reseeded, "sha256:1").find("") is None


def test_a_failing_command_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROWDSELECT_ALLOW_COMMANDS", "1")
    script = tmp_path / "fail.py"
    script.write_text("raise SystemExit('no such benchmark')")
    config = benchmark(f"{sys.executable} {script} {{model_dir}}", name="mine")
    with pytest.raises(CommandFailed) as e:
        command_benchmark.measure(config, "tiny", tmp_path, tmp_path, lambda: None)
    whole = r"(?s).*mine: tiny.* exit code 1\nits last lines:\n  \| .*no such benchmark"
    assert re.match(whole, str(e.value))
    assert "command.log" not in str(e.value)  # the folder is gone when this is read


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ('{"acc": 1, "f1": 0.5}', [Measured("acc", 1.0), Measured("f1", 0.5)]),
        ('step 1\n{"acc": 1}\n', [Measured("acc", 1.0)]),
        (
            '[{"metric": "acc", "value": 0.5, "low": 0.25, "high": 0.75, "n": 8}]',
            [Measured("acc", 0.5, 0.25, 0.75, 8)],
        ),
        ('{"rows": [{"metric": "acc", "value": 2, "low": null}]}', [Measured("acc", 2.0)]),
    ],
)
def test_results_that_can_be_read(printed: str, expected: list[Measured]) -> None:
    assert results_of("mine", printed) == expected


@pytest.mark.parametrize(
    ("printed", "why"),
    [
        ("", "it printed nothing"),
        ("accuracy 0.7", "printed no JSON, found 'accuracy 0.7'"),
        ('{"acc": NaN}', "the value of 'acc' is nan, expected a finite number"),
        ('{"acc": Infinity}', "the value of 'acc' is inf"),
        (f'{{"acc": 1{"0" * 400}}}', "expected a finite number"),
        ('{"acc": "0.7"}', "the value of 'acc' is '0.7'"),
        ('{"acc": true}', "the value of 'acc' is True"),
        ('{"acc": null}', "the value of 'acc' is None"),
        ("[]", "printed no metric"),
        ("{}", "printed no metric"),
        ("0.7", "the command printed 0.7"),
        ("[1]", "row 1 that the command printed is 1"),
        ('[{"metric": "acc"}]', "row 1"),
        ('[{"metric": "acc", "value": 1, "lo": 0}]', "has the key 'lo', expected high, low"),
        ('[{"metric": "acc", "value": 1, "n": 1.5}]', "n of 'acc' is 1.5"),
        ('[{"metric": 3, "value": 1}]', "printed the metric 3"),
        ('[{"metric": "a", "value": 1}, {"metric": "a", "value": 2}]', "metric 'a' twice"),
        ("[" * 100_000, "no JSON"),
    ],
)  # fmt: skip
def test_results_that_cannot_be_read(printed: str, why: str) -> None:
    with pytest.raises(EvaluationError) as error:
        results_of("mine", printed)
    assert why in str(error.value)
    assert str(error.value).startswith("mine: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("python my.py", "expected {model_dir}"),
        ("python my.py {model_dir} --out={output_dir}", "whole one"),
        ("python my.py {model}", "unknown placeholder"),
        ("python my.py {model_dir} --api-key abc", "looks like a credential"),
    ],
)
def test_commands_that_are_refused(command: str, why: str) -> None:
    with pytest.raises((ValidationError, ConfigError), match=why):
        benchmark(command)
