"""What a run refuses of its data set before a Prefect server is started, in the dry run's words."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from little import CROWD, REWARD

from crowdselect_core.config.load import load
from crowdselect_core.errors import UserError
from crowdselect_core.planning import data_check
from flows import cli


@pytest.fixture
def folder(no_server: Path) -> Path:
    """A folder with a zoo of 30 rows and other files, where no server may be started."""
    (no_server / "crowd.yaml").write_text(yaml.safe_dump({"crowd": CROWD}))
    (no_server / "bad.csv").write_text('id,a\n"1\n')
    (no_server / "bad.jsonl").write_text('{"id": 1}\n{"id"\n')
    return no_server


def refused(capsys: pytest.CaptureFixture[str], *flags: str, flow: str = "select") -> str:
    assert cli.main([*flags, "--crowd", "crowd.yaml"], flow=flow) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["--dataset", "missing.parquet"], "missing.parquet: "),
        (["--dataset", "bad.csv"], "bad.csv"),
        (["--dataset", "bad.jsonl"], "bad.jsonl, line 2: "),
        (["--dataset", "zoo.parquet", "--reward-model", "nobody"], "'nobody' (found: "),
        (
            ["--dataset", "zoo.parquet", "--reward-model", REWARD, "--budget", "31"],
            "the budget is 31 rows, but only 30 rows can be eligible: give a smaller --budget, "
            "or --allow-short to take all that are",
        ),
        (
            ["--dataset", "zoo.parquet", "--reward-model", REWARD, "--budget", "0.03"],
            "a budget of 0.03 of 30 eligible rows is less than one row: give a larger share or a "
            "number of rows",
        ),
        (
            ["--dataset", "zoo.parquet", "--reward-model", REWARD, "--budget", "3",
             "--clusters", "31"],
            "clusters: 31 requested, but there are 30 rows: set --clusters to 30 or less, or 0 "
            "for none",
        ),
    ],
)  # fmt: skip
def test_the_run_and_its_dry_run_say_the_same(
    folder: Path, capsys: pytest.CaptureFixture[str], flags: list[str], why: str
) -> None:
    if "--reward-model" not in flags:
        flags = [*flags, "--reward-model", REWARD]
    line = refused(capsys, *flags)
    assert line.startswith("error: ")
    assert why in line
    assert refused(capsys, *flags, "--dry-run") == line


def test_a_data_set_of_instructions_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "asked.jsonl").write_text('{"instruction": "Say a word.", "source": "me"}\n')
    line = refused(capsys, "--dataset", "asked.jsonl", "--reward-model", REWARD)
    names = ", ".join(sorted(m["name"] for m in CROWD))
    assert line == (
        f"error: asked.jsonl: has no answers or scores of the crowd models ({names}); give each an "
        "engine, which generates its answers (docs/live.md), or name a data set that has answers"
    )


@pytest.mark.parametrize("flow", ["generate", "score", "reselect", "finetune", "evaluate"])
def test_every_flow_that_reads_the_data_set(
    folder: Path, capsys: pytest.CaptureFixture[str], flow: str
) -> None:
    more = {
        "reselect": ["--series", "s"],
        "finetune": ["--training-base-model", "sample"],
        "evaluate": ["--training-base-model", "sample", "--config", "evaluation.yaml"],
    }
    (folder / "evaluation.yaml").write_text("evaluation: {benchmarks: [{kind: heldout-loss}]}")
    rewards = [] if flow == "generate" else ["--reward-model", REWARD]
    flags = ["--dataset", "missing.parquet", *rewards, *more.get(flow, [])]
    assert "missing.parquet: " in refused(capsys, *flags, flow=flow)


@pytest.mark.parametrize("flow", ["finetune", "evaluate"])
@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["--training-base-model", "./models/gone"], "training.base_model: model folder "),
        (["--training-base-model", "crowd.yaml"], "training.base_model: model 'crowd.yaml' is a "),
        (["--training-base-model", "sample:smollm2", "--training-train-file", "gone.jsonl"],
         "training.train_file 'gone.jsonl' is no file here"),
        (["--config", "launched.yaml"], "training.launch_config 'gone.yaml' is no file here"),
    ],
)  # fmt: skip
def test_files_of_a_training(
    folder: Path, capsys: pytest.CaptureFixture[str], flags: list[str], why: str, flow: str
) -> None:
    evaluation = {"evaluation": {"benchmarks": [{"kind": "heldout-loss"}]}}
    common: dict[str, Any] = evaluation if flow == "evaluate" else {}
    training = {"base_model": "sample:smollm2", "launch_config": "gone.yaml"}
    (folder / "launched.yaml").write_text(yaml.safe_dump(common | {"training": training}))
    (folder / "common.yaml").write_text(yaml.safe_dump(common))
    data = ["--dataset", "zoo.parquet", "--reward-model", REWARD, "--budget", "3"]
    file = [] if "--config" in flags else ["--config", "common.yaml"]
    assert why in refused(capsys, *data, *flags, *file, flow=flow)


def config_of(path: str, **dataset: Any) -> Any:
    return load(None, {"dataset": {"path": path, **dataset}, "reward_models": [REWARD],
                       "crowd": CROWD, "budget": 3}, {})  # fmt: skip


@pytest.mark.parametrize("path", ["s3://bucket/zoo.parquet", "org/name"])
def test_what_lies_elsewhere_is_left_to_the_run(folder: Path, path: str) -> None:
    data_check.check_beforehand(config_of(path), "select")


def test_large_files_that_are_read_as_a_whole_are_left_to_the_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_check, "LOADED", 1)
    assert not data_check.opens_fast(config_of("bad.csv").dataset)
    (folder / "good.jsonl").write_text('{"id": 1}\n')
    assert data_check.opens_fast(config_of("good.jsonl").dataset)
    monkeypatch.setattr(data_check, "SCANNED", 1)
    assert not data_check.opens_fast(config_of("good.jsonl").dataset)
    assert data_check.opens_fast(config_of("zoo.parquet").dataset)


def test_frozen_centres_are_not_fitted_to_fewer_rows(folder: Path) -> None:
    """Also where the vectors are a column of the data set."""
    keys = {"dataset": {"path": "zoo.parquet"}, "reward_models": [REWARD], "crowd": CROWD,
            "budget": 3, "clusters": 5000, "embedder": "column:vector"}  # fmt: skip
    frozen = load(None, keys | {"series": "s"}, {}, flow="reselect")
    data_check.check_beforehand(frozen, "reselect")
    with pytest.raises(UserError, match="clusters: 5000 requested"):
        data_check.check_beforehand(load(None, keys, {}), "select")


def test_what_breaks_in_the_check_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("row")

    monkeypatch.setattr(data_check, "check_beforehand", broken)
    assert cli.main(["--dataset", "zoo.parquet"]) == cli.BROKEN
    assert capsys.readouterr().err == "error: KeyError: 'row'\n"
