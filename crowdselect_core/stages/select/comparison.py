"""Stage `comparison`: how far the choice overlaps the baselines that anyone could have had."""

import polars as pl

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.selection.methods.by_value import rank_by_value
from crowdselect_core.selection.quota import select
from crowdselect_core.stages.base import Stage
from crowdselect_core.stages.refs import Ref
from crowdselect_core.stages.select.ranking import ranked
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import Plan, ShardResult, single

STAGE, VERSION = "comparison", 2


def spec(
    config: SelectConfig,
    metrics: Ref,
    answers: Ref,
    selection: Ref,
    clusters: Ref | None,
    lengths: Ref | None = None,
) -> Spec:
    """Name the artifact: the selection, the seed of the baselines, the answers' lengths."""
    inputs = {"selection": selection.key} | ({"clusters": clusters.key} if clusters else {})
    inputs |= {"lengths": lengths.key} if lengths else {}
    return Spec(STAGE, VERSION, {"seed": config.seed}, inputs)


def plan(
    config: SelectConfig,
    store: Store,
    metrics: Ref,
    answers: Ref,
    selection: Ref,
    clusters: Ref | None,
    lengths: Ref | None = None,
) -> Plan:
    """Choose as many rows by each baseline and count those that both chose.

    Output columns: baseline; rows (it chose); overlap (rows chosen by both); by_chance (the
    overlap to expect of a random choice of as many rows). The longest answers are those of the
    most estimated tokens, where the data set has answers.
    """

    def make() -> ShardResult:
        chosen = selection.open(store).frame(["instruction_id"])
        groups = clusters.open(store).frame(["instruction_id", "cluster_id"]) if clusters else None
        baselines: list[tuple[str, str, pl.DataFrame | None]] = [
            ("random", "random", None),
            ("top reward", "reward", None),
        ]
        if groups is not None:
            baselines.insert(1, ("random, clustered", "random", groups))
        # Draws of their own: the method random would else be held against itself.
        other_draws = config.model_copy(update={"seed": (config.seed + 1) % 2**32})
        rankings = {
            method: ranked(other_draws, store, metrics, answers, method)[0]
            for method in ("random", "reward")
        }
        if lengths is not None:
            baselines.append(("longest answer", "longest", None))
            tokens = lengths.open(store).frame(["instruction_id", "tokens"])
            candidates = rankings["random"].with_columns(barred=pl.col("reason"))
            rankings["longest"] = rank_by_value(candidates, tokens, "tokens")
        rows = []
        for name, method, balanced in baselines:
            ranking = rankings[method]
            eligible = int(ranking["eligible"].sum())
            if not eligible:
                continue
            other = select(ranking, balanced, min(chosen.height, eligible), "equal")
            both = chosen.join(other, on="instruction_id", how="semi").height
            rows.append((name, other.height, both, chosen.height * other.height / eligible))
        schema = {
            "baseline": pl.String, "rows": pl.Int64, "overlap": pl.Int64, "by_chance": pl.Float64,
        }  # fmt: skip
        return ShardResult(pl.DataFrame(rows, schema, orient="row"))

    return single(make)


COMPARISON = Stage(
    "comparison",
    "Count the overlap with random, clustered random, top reward and the longest answers.",
    spec,
    plan,
)
