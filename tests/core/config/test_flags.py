"""Flags, help and tables of keys follow from the fields of a config, for a new command too."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field

from crowdselect_core.config import commands, reference
from crowdselect_core.config.base import Frozen
from crowdselect_core.config.commands import COMMANDS, Command
from crowdselect_core.config.dataset import DatasetConfig
from crowdselect_core.config.flags import Flag, Step, options_of
from crowdselect_core.config.load import load
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import ConfigError
from flows.options import parse, parser

ROOT = Path(__file__).parents[3]

# The public interface: these flags stay, with these names.
EVERY = {
    "--config", "--dataset", "--format", "--crowd", "--store", "--out", "--limit", "--dry-run",
    "--quiet",
}  # fmt: skip
SELECT = EVERY | {
    "--reward-model", "--method", "--direction", "--budget", "--budget-tokens", "--clusters",
    "--weights", "--quota", "--response", "--embedder", "--min-scores", "--allow-short",
    "--include", "--exclude", "--seed",
}  # fmt: skip
TAKEN = {
    "generate": EVERY,
    "score": EVERY | {"--reward-model", "--check"},
    "select": SELECT,
    "finetune": SELECT | {"--training-base-model"},
    "reselect": SELECT | {"--series", "--mode", "--base", "--rollback-to", "--list"},
    "evaluate": SELECT
    | {
        "--model",
        "--judgments",
        "--benchmark",
        "--baseline",
        "--official",
        "--training-base-model",
    },
    "experiment": SELECT | {"--train", "--max-parallel", "--preflight", "--compare", "--report"},
    "report": {"--config", "--out", "--quiet"},
}


@pytest.mark.parametrize("flow", COMMANDS)
def test_the_flags_of_the_public_interface(flow: str) -> None:
    assert TAKEN[flow] <= set(COMMANDS[flow].flags)
    help_text = parser(flow).format_help()
    assert all(f"  {flag}" in help_text for flag in TAKEN[flow])


@pytest.mark.parametrize(
    ("flow", "argv", "message"),
    [
        (
            "generate",
            ["--reward-model", "r"],
            "flows.generate does not take --reward-model, a flag of flows.score, flows.select, "
            "flows.finetune, flows.reselect, flows.evaluate, flows.experiment; see --help",
        ),
        (
            "score",
            ["--list"],
            "flows.score does not take --list, a flag of flows.reselect, did you mean --limit?",
        ),
        ("score", ["--clusters=3"], "flows.score does not take --clusters, a flag of flows.sel"),
        ("select", ["--check"], "flows.select does not take --check, a flag of flows.score"),
        ("generate", ["--limt", "3"], "unknown flag '--limt', did you mean --limit?; see --help"),
    ],
)
def test_a_flag_of_another_command_is_refused(flow: str, argv: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(argv, flow)
    assert str(caught.value).startswith(message)


TUNING = Step("tuning")


class Adapter(Frozen):
    """The low-rank adapter."""

    rank: Annotated[int, Flag("R")] = Field(16, ge=1, description="Rank of the matrices")


class Tuning(Frozen):
    """How the student is trained."""

    epochs: Annotated[float, Flag("N", "--epochs")] = Field(3.0, gt=0, description="100% passes")
    packing: Annotated[bool, Flag()] = Field(True, description="Pack short rows together")
    adapter: Adapter = Field(Adapter(), description="The adapter")
    heldout: DatasetConfig | None = Field(None, description="Rows for the loss")


class TrainConfig(SelectConfig):
    """A selection, and a model trained on it."""

    tuning: Annotated[Tuning, TUNING] = Field(Tuning(), description="The training")


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch) -> str:
    """A command with a config of its own."""
    command = Command("Train a model.", TrainConfig, (*Command("").steps, TUNING))
    monkeypatch.setitem(commands.COMMANDS, "train", command)
    return "train"


def test_a_new_section_brings_its_flags_variables_and_help(train: str) -> None:
    argv = ["--tuning-adapter-rank", "8", "--no-tuning-packing", "--dataset", "d"]
    _, flags = parse([*argv, "--reward-model", "r"], train)
    config = load(None, flags, {"CROWDSELECT_TUNING__EPOCHS": "0.5"}, train)
    assert isinstance(config, TrainConfig)
    assert config.tuning == Tuning(epochs=0.5, packing=False, adapter=Adapter(rank=8))
    text = " ".join(parser(train).format_help().split())
    assert "--epochs N 100% passes (above 0; default: 3)" in text
    assert "--tuning-adapter-rank R Rank of the matrices (at least 1; default: 16)" in text


def test_a_switch_that_is_neither_by_itself() -> None:
    given = [parse(argv, "select")[1] for argv in (["--report"], ["--no-report"], [])]
    assert given == [{"report": True}, {"report": False}, {}]


def test_a_new_section_may_be_a_bare_name(train: str, tmp_path: Path) -> None:
    """A data set inside a section has flags named after its keys; --dataset is the first one's."""
    file = tmp_path / "c.yaml"
    file.write_text("{dataset: d, reward_models: [r], tuning: {heldout: h.jsonl}}")
    _, flags = parse(["--tuning-heldout-format", "alpaca"], train)
    environ = {"CROWDSELECT_TUNING__HELDOUT__SPLIT": "test"}
    config = load(str(file), flags, environ, train)
    assert isinstance(config, TrainConfig)
    assert config.tuning.heldout == DatasetConfig(path="h.jsonl", format="alpaca", split="test")
    assert (config.dataset.path, config.dataset.format) == ("d", "auto")
    environ = {"CROWDSELECT_TUNING__HELDOUT": "other.jsonl"}  # in the same format as the file's
    config = load(str(file), flags, environ, train)
    assert isinstance(config, TrainConfig)
    assert config.tuning.heldout == DatasetConfig(path="other.jsonl", format="alpaca")


def test_the_flags_of_a_step_are_those_of_the_commands_that_run_it(train: str) -> None:
    assert "--epochs" in COMMANDS[train].flags
    without = Command("Like train, without the training.", TrainConfig)
    # of commands that end after the gates or explain a row, upload, or write a report
    own = {"--quality-only", "--push-to", "--explain", "--report"}
    assert set(without.flags) == set(COMMANDS["select"].flags) - own


def test_a_new_section_brings_its_tables(train: str) -> None:
    tables = reference.tables()
    assert "### Keys of train\n" in tables
    assert "| `tuning` | [tuning](#tuning) |  | The training |" in tables
    assert "### `tuning`\n\nHow the student is trained.\n" in tables
    assert "| `epochs` | `--epochs` | number, above 0 | `3` | 100% passes |" in tables
    row = "| `rank` | `--tuning-adapter-rank` | integer, at least 1 | `16` | Rank of the matrices |"
    assert row in tables.partition("### `tuning.adapter`")[2]


class Clash(Frozen):
    """Two keys of one flag."""

    one: Annotated[int, Flag("N", "--two")] = Field(1, description="One")
    two: Annotated[int, Flag("N")] = Field(2, description="Two")


def test_two_keys_of_one_flag_are_an_error() -> None:
    with pytest.raises(TypeError, match="--two stands for one and two"):
        options_of(Clash)


def test_a_page_without_marks_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Keys\n")
    assert reference.main([str(page)]) == 2
    assert "the page needs the lines" in capsys.readouterr().err
    page.write_text(f"# Keys\n{reference.START}\nold\n{reference.END}\nafter\n")
    assert reference.main([str(page)]) == 0
    text = page.read_text()
    assert text == f"# Keys\n{reference.START}\n\n{reference.tables()}\n\n{reference.END}\nafter\n"


def test_help_imports_no_heavy_library() -> None:
    program = (
        "import sys\nfrom flows import cli, options\noptions.parser().format_help()\n"
        "print(sorted({m.split('.')[0] for m in sys.modules}))"
    )
    words = [sys.executable, "-c", program]
    shown = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert "pydantic" in shown
    for heavy in ("prefect", "polars", "torch", "transformers", "numpy", "pyarrow", "fsspec"):
        assert f"'{heavy}'" not in shown
