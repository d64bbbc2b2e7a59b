"""Stage `clusters`: every row to its nearest centre."""

import polars as pl

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.embedding.kmeans import assign
from crowdselect_core.stages.base import Stage, one_cpu
from crowdselect_core.stages.refs import Ref
from crowdselect_core.stages.select import centers as centers_stage
from crowdselect_core.stages.shards import by_shard
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import Plan, ShardResult
from crowdselect_core.tables import CLUSTERS as TABLE
from crowdselect_core.tables import check
from crowdselect_core.util.once import Once

STAGE, VERSION = "clusters", 2


def spec(config: SelectConfig, embeddings: Ref, centers: Ref) -> Spec:
    """Name the artifact: the embeddings and the centres."""
    return Spec(STAGE, VERSION, {}, {"embeddings": embeddings.key, "centers": centers.key})


def plan(config: SelectConfig, store: Store, embeddings: Ref, centers: Ref) -> Plan:
    """Assign every shard to the centres.

    Output columns: instruction_id, cluster_id (0..k-1), distance (Euclidean, to the centre).
    """
    centers_KD = Once(lambda: centers_stage.stored(store, centers))

    def shard(frame: pl.DataFrame) -> ShardResult:
        labels, distances = assign(frame["vector"].to_numpy(), centers_KD())
        table = frame.select("instruction_id").with_columns(
            cluster_id=pl.Series(labels), distance=pl.Series(distances)
        )
        return ShardResult(check(table, TABLE, "clusters"))

    return by_shard(embeddings.open(store), shard, ["instruction_id", "vector"])


CLUSTERS = Stage("clusters", "Assign every instruction to its nearest centre.", spec, plan, one_cpu)
