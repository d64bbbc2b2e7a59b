"""An experiment on a live crowd: answers are made and scored once, for all cells and runs."""

import signal
from pathlib import Path

import polars as pl
import pytest
from command import Command
from endpoints import model, serving, write_work
from finetuned import recipe
from tinymodel import write_tiny

pytest.importorskip("trl")
pytestmark = [pytest.mark.server, pytest.mark.model]

ROWS = 32


def test_answers_are_made_once_for_all_cells(command: Command, tmp_path: Path) -> None:
    base, work = write_tiny(tmp_path / "tiny"), tmp_path / "work"
    with serving(tmp_path / "endpoint") as endpoint:
        config = write_work(
            work, ROWS, [model("a", 1, endpoint.url), model("b", 2, endpoint.url)],
            heldout={"share": 0.25, "answers": "best"},
            training=recipe(base, num_train_epochs=1),
            evaluation={"benchmarks": [{"kind": "heldout-loss"}]},
            experiment={
                "methods": ["crowdselect", "random"], "clusters": [0], "budgets": [4],
                "seeds": [0], "controls": ["untuned"], "replicate": {"subsample": 0.9},
            },
        )  # fmt: skip
        here = command.of("experiment").within(work)
        plan = here.run("--config", config, "--dry-run").ended(0).stdout
        assert "cached     known once these are made" in plan
        assert not endpoint.asked
        here = here.with_models()
        here.run("--config", config, kill="selection:1").ended(-signal.SIGKILL)
        asked = endpoint.asked
        assert len(asked) == 2 * ROWS, "every row, those that are held out too"
        assert set(asked.values()) == {1}
        here.run("--config", config).ended(0)
        assert endpoint.asked == asked, "what the killed run had made is not asked for again"
    table = pl.read_parquet(work / "out" / "experiment.parquet")
    loss = table.filter(pl.col("metric") == "loss_per_row")
    assert loss["cell"].to_list() == [
        "crowdselect k=0 n=4", "random k=0 n=4", f"untuned {base}"
    ]  # fmt: skip
    assert (loss["value"] > 0).all()
    assert loss["n"].n_unique() == 1  # the same held-out rows
    assert table.filter(pl.col("metric") == "rows")["value"].to_list() == [4.0, 4.0]
