"""A selection in this process: the stages in the flow's order, without Prefect."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from crowdselect_core.config.load import load
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.export import selection_files
from crowdselect_core.planning import preflight
from crowdselect_core.report.summary import summarise
from crowdselect_core.stages.refs import Ref, SelectionArtifacts
from crowdselect_core.stages.select import (
    answers,
    comparison,
    instructions,
    metrics,
    pairs,
    ranking,
    scores,
    selection,
)
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.build import build
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import Plan


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
    """Run the stages of a resolved config."""
    preflight.check(config)
    store = Store(config.store)

    def made(spec: Spec, plan: Plan) -> Ref:
        return Ref.of(store.find(spec) or build(store, spec, plan, workers=config.workers))

    i = made(instructions.spec(config), instructions.plan(config, store))
    preflight.check_data(config, i)
    s = made(scores.spec(config, i), scores.plan(config, store, i))
    m = made(metrics.spec(config, s), metrics.plan(config, store, s))
    a = made(answers.spec(config, s, m), answers.plan(config, store, s, m))
    f = e = k = c = None
    if config.clusters > 1:
        from crowdselect_core.stages.select import centers, clusters, embedder, embeddings

        if embedder.is_fitted(config):
            f = made(embedder.spec(config, i), embedder.plan(config, store, i))
        e = made(embeddings.spec(config, i, f), embeddings.plan(config, store, i, f))
        k = made(centers.spec(config, e), centers.plan(config, store, e))
        c = made(clusters.spec(e, k), clusters.plan(store, e, k))
    r = made(ranking.spec(config, m, a), ranking.plan(config, store, m, a))
    chosen = made(selection.spec(config, r, c), selection.plan(config, store, s, m, r, c))
    p = None
    if "pairs" in config.export:
        p = made(pairs.spec(config, chosen), pairs.plan(config, store, s, m, chosen))
    compared = made(
        comparison.spec(config, chosen, c), comparison.plan(config, store, m, a, chosen, c)
    )
    inputs = SelectionArtifacts(
        instructions=i, scores=s, metrics=m, answers=a, embedder=f, embeddings=e, centers=k,
        clusters=c, ranking=r, selection=chosen, pairs=p, comparison=compared,
    )  # fmt: skip
    table = selection_files.ranking_table(config, store, inputs)
    summary = summarise(config, store, inputs, table)
    wanted = selection_files.spec(config, inputs)
    return Chosen(
        config, store, inputs, selection_files.write(config, store, inputs, wanted, table, summary)
    )
