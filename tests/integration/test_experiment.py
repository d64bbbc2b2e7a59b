"""`python -m flows.experiment`: choices alone, and a trained grid that is killed and goes on."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from command import Command, until
from finetuned import recipe
from tinymodel import write_tiny
from zoos import write_zoo

pytest.importorskip("trl")
pytestmark = [pytest.mark.server, pytest.mark.model]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny base model and a small zoo."""
    folder = tmp_path_factory.mktemp("experiment")
    write_tiny(folder / "tiny")
    write_zoo(folder / "zoo", 80)
    return folder


def config(place: Path, name: str, experiment: dict[str, Any], **keys: Any) -> Path:
    path = place / f"{name}.yaml"
    path.write_text(yaml.safe_dump({
        "dataset": "zoo/zoo.parquet", "crowd": "zoo/crowd.yaml",
        "heldout": {"share": 0.2, "answers": "best"}, "experiment": experiment,
        "store": f"{name}-store", "out": name, **keys,
    }))  # fmt: skip
    return path


def test_choices_alone_are_made_once(command: Command, place: Path) -> None:
    here = command.of("experiment").within(place)
    file = config(place, "alone", {
        "methods": ["crowdselect", "random"], "clusters": [2], "budgets": [6], "seeds": [0, 1],
    })  # fmt: skip
    plan = here.run("--config", file, "--no-train", "--dry-run").ended(0)
    assert "grid       7 cells (5 of them controls) x 2 replicates" in plan.stdout
    assert "cached     0 of 14 choices" in plan.stdout
    first = here.run("--config", file, "--no-train", "--figures").ended(0)
    assert "cached       0 of 14" in first.stdout
    assert "alone/figures/choices.svg" in first.stdout
    assert (place / "alone" / "figures" / "overlaps.png").is_file()
    assert "alone/experiment.parquet" in first.stdout
    assert "alone/report.html" in first.stdout
    page = place / "alone" / "report.html"
    assert "Nothing was trained" in page.read_text("utf-8")
    again = here.run("--config", file, "--no-train").ended(0)
    assert "cached       14 of 14" in again.stdout
    assert not (place / "alone" / "figures").exists(), "they would show another run"
    whole = page.read_bytes()
    page.unlink()
    here.of("report").run("--out", "alone").ended(0)
    assert page.read_bytes() == whole
    here.run("--config", file, "--no-train", "--no-report").ended(0)
    assert not page.exists()
    refused = here.run("--config", file)
    assert "training is missing" in refused.ended(2).error


EXPERIMENT = {
    "methods": ["crowdselect", "random"],
    "clusters": [0],
    "budgets": [4],
    "seeds": [0, 1],
    "controls": ["untuned"],
    "token_matched": ["crowdselect"],
    "primary": {"method": "crowdselect", "baseline": "random", "clusters": 0},
}
ARM = "token-matched-random k=0 of crowdselect k=0 n=4"


def test_a_killed_grid_goes_on_for_free(command: Command, place: Path) -> None:
    here = command.of("experiment").with_models().within(place)
    keys: dict[str, Any] = {
        "training": recipe(place / "tiny", num_train_epochs=1),
        "evaluation": {"benchmarks": [{"kind": "heldout-loss"}]},
    }
    file = config(place, "trained", EXPERIMENT, **keys)
    out = place / "trained"
    with here.start("--config", file) as process:
        until(lambda: len(list(out.glob("cells/*/0/cell.json"))) > 0, process)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    assert not (out / "experiment.parquet").exists()
    whole = here.run("--config", file).ended(0)
    assert whole.stages("not in the store") == [], "its cells differ by design"
    table = pl.read_parquet(out / "experiment.parquet")
    trained = table.filter(pl.col("metric") == "loss_per_row")
    assert trained.select("cell", "replicate").rows() == [
        (cell, replicate)
        for cell in ("crowdselect k=0 n=4", "random k=0 n=4", f"untuned {place / 'tiny'}", ARM)
        for replicate in (0, 1)
    ]
    first = trained.row(0, named=True)
    assert first["cached"], "it was trained before the kill"
    assert first["cost_seconds"] > 0, "which the killed run has noted"
    assert (first["steps"], first["seed"], first["peft"]) == (2, 0, "full")
    assert not all(trained["cached"])
    compared = pl.read_parquet(out / "comparisons.parquet")
    primary = compared.filter("primary").row(0, named=True)
    values = {(r["cell"], r["replicate"]): r["value"] for r in trained.iter_rows(named=True)}
    differences = [values["crowdselect k=0 n=4", r] - values["random k=0 n=4", r] for r in (0, 1)]
    assert primary["difference"] == pytest.approx(sum(differences) / 2)
    assert "verdict      crowdselect k=0 n=4 - random k=0 n=4: " in whole.stdout
    assert "named beforehand" in (out / "report.html").read_text("utf-8")
    manifest = json.loads((out / "manifest.json").read_text())
    assert sum(name.endswith("/model") for name in manifest["artifacts"]) == 6
    assert f"verdict      crowdselect k=0 n=4 - {ARM}: " in whole.stdout
    arms = compared.filter(pl.col("b") == ARM, pl.col("metric") == "loss_per_row")
    assert arms.select("a", "primary", "budget").rows() == [("crowdselect k=0 n=4", False, 4.0)]
    plan = here.run("--config", file, "--dry-run").ended(0)
    assert "cached     6 of 6 trained cells" in plan.stdout
    single = here.of("evaluate").run(
        "--config", _cell(place, file), "--out", "single", "--quiet"
    ).ended(0)  # fmt: skip
    board = pl.read_parquet(place / "single" / "leaderboard.parquet")
    own = board.filter((pl.col("model") == "tiny-trained") & (pl.col("metric") == "loss_per_row"))
    assert own["value"].item() == values["random k=0 n=4", 1]
    assert "to train" not in single.stdout


def _cell(place: Path, file: Path) -> Path:
    """Write by hand the config of `random k=0 n=4` in replicate 1, for flows.evaluate."""
    told = yaml.safe_load(file.read_text())
    told |= {
        "method": "random", "clusters": 0, "budget": 4, "response": "best", "seed": 1,
        "subsample": {"share": 0.8},
    }  # fmt: skip
    told["training"] |= {"seed": 1}
    path = place / "cell.yaml"
    path.write_text(yaml.safe_dump(told))
    return path
