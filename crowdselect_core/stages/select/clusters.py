"""Stage `clusters`: every row to its nearest centre."""

from collections.abc import Callable

import polars as pl

from crowdselect_core.embedding.kmeans import assign
from crowdselect_core.stages.refs import Ref
from crowdselect_core.stages.select import centers as centers_stage
from crowdselect_core.stages.shards import per_shard, table_cut
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import Plan, ShardResult
from crowdselect_core.tables import CLUSTERS, check
from crowdselect_core.util.once import Once

STAGE, VERSION = "clusters", 2


def spec(embeddings: Ref, centers: Ref) -> Spec:
    """Name the artifact: the embeddings and the centres."""
    return Spec(STAGE, VERSION, {}, {"embeddings": embeddings.key, "centers": centers.key})


def plan(store: Store, embeddings: Ref, centers: Ref) -> Plan:
    """Assign every shard to the centres.

    Output columns: instruction_id, cluster_id (0..k-1), distance (Euclidean, to the centre).
    """
    artifact = embeddings.open(store)
    centers_KD = Once(lambda: centers_stage.stored(store, centers))

    def shard(read: Callable[[], pl.DataFrame]) -> Callable[[], ShardResult]:
        def make() -> ShardResult:
            frame = read()
            labels, distances = assign(frame["vector"].to_numpy(), centers_KD())
            table = frame.select("instruction_id").with_columns(
                cluster_id=pl.Series(labels), distance=pl.Series(distances)
            )
            return ShardResult(check(table, CLUSTERS, "clusters"))

        return make

    shards = [shard(read) for read in per_shard(artifact, ["instruction_id", "vector"])]
    return Plan(shards, cut=table_cut(artifact), total=len(shards))
