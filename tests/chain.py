"""A selection in this process: the flow's own story, run without Prefect's tasks."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from crowdselect_core.config.load import load
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.export import selection_files
from crowdselect_core.export.ranking_rows import ExplainedRows
from crowdselect_core.planning import preflight
from crowdselect_core.report.summary import summarise
from crowdselect_core.stages.base import InProcess
from crowdselect_core.stages.refs import SelectionArtifacts
from crowdselect_core.store.artifacts import Store
from flows.select import chosen


@dataclass(frozen=True)
class Chosen:
    """What a selection left."""

    config: SelectConfig
    store: Store
    inputs: SelectionArtifacts
    manifest: dict[str, Any]

    @property
    def out(self) -> Path:
        """The folder of the results."""
        return Path(self.config.out)

    @property
    def selection(self) -> pl.DataFrame:
        """OUT/selection.parquet."""
        return pl.read_parquet(self.out / "selection.parquet")

    @property
    def ranking(self) -> pl.DataFrame:
        """OUT/ranking.parquet."""
        return pl.read_parquet(self.out / "ranking.parquet")

    @property
    def ids(self) -> list[str]:
        """The chosen ids, best first."""
        return self.selection["instruction_id"].to_list()

    def lines(self, name: str) -> list[dict[str, Any]]:
        """The rows of a JSON Lines file in OUT: one object per line that ends in a newline."""
        *lines, end = (self.out / name).read_bytes().split(b"\n")
        assert end == b""
        return [json.loads(line) for line in lines]

    def stored(self, name: str) -> pl.DataFrame:
        """The table of an artifact, e.g. 'metrics'."""
        return self.inputs.refs()[name].open(self.store).frame()


def choose(folder: Path, **keys: Any) -> Chosen:
    """Choose rows as `python -m flows.select` does with these config keys and no environment."""
    places = {"store": str(folder / "store"), "out": str(folder / "out"), "clusters": 0}
    return choose_with(load(None, places | keys, {}))


def choose_with(config: SelectConfig) -> Chosen:
    """Run the stages of a resolved config, in the flow's order."""
    preflight.check(config)
    store = Store(config.store)
    inputs = chosen(config, run=InProcess(store)).inputs
    table = ExplainedRows(config, store, inputs)
    summary = summarise(config, store, inputs, table)
    wanted = selection_files.spec(config, inputs)
    return Chosen(
        config, store, inputs, selection_files.write(config, store, inputs, wanted, table, summary)
    )
