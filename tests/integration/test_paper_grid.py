"""A table of the paper from end to end, its file as it is, with stand-ins for what it names."""

from pathlib import Path

import polars as pl
import pytest
from command import Command
from endpoints import serving
from stand_ins import GRIDS, environment, write_stand_ins

pytest.importorskip("trl")
pytestmark = [pytest.mark.server, pytest.mark.model]

MODELS = ["meta-llama/Llama-3.2-3B", "meta-llama/Llama-3.2-3B-Instruct"]


def test_table_7_is_trained_judged_and_compared(command: Command, tmp_path: Path) -> None:
    folder = write_stand_ins(tmp_path / "run", models=MODELS)
    grid = GRIDS / "table7.yaml"
    with serving(tmp_path / "endpoint") as endpoint:
        how = environment(grid, endpoint.url, seeds=[0], budgets=[4],
                          controls=["random", "untuned"])  # fmt: skip
        here = command.of("experiment").with_models().within(folder)
        ran = here.run("--config", grid, env=how).ended(0)
        asked = endpoint.asked
    # two trained models, their base and the anchor: 4 verdicts each on MT-Bench, and on Arena-Hard
    # 4 games each, but for the anchor
    assert sum(asked.values()) == 4 * 4 + 3 * 4
    assert set(asked.values()) == {1}
    out = folder / "out" / "table7"
    table = pl.read_parquet(out / "experiment.parquet")
    cells = ["difficulty k=0 n=4", "random k=0 n=4", f"untuned {MODELS[1]}"]
    for benchmark, metric in (("mt-bench", "average"), ("arena-hard", "win_rate")):
        own = table.filter(pl.col("benchmark") == benchmark, pl.col("metric") == metric)
        assert own["cell"].to_list() == cells
        assert own["value"].is_not_null().all()
    primary = pl.read_parquet(out / "comparisons.parquet").filter("primary")
    assert primary.select("a", "b", "benchmark", "metric").rows() == [
        (cells[0], cells[1], "arena-hard", "win_rate")
    ]
    assert f"verdict      {cells[0]} - {cells[1]}: " in ran.stdout
    assert "Table 7" in (out / "report.html").read_text("utf-8")
