"""Stage `clusters`: k-means over the embeddings, fitted on all rows or on a seeded sample."""

from collections.abc import Callable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.clustering import FIT_ROWS, assign, check_distinct, fit_clusters
from crowdselect_core.config import SelectConfig
from crowdselect_core.embedding import fit_sample
from crowdselect_core.stages.common import Once, Ref, per_shard, table_cut
from crowdselect_core.store.build import Part, Plan
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.store import Artifact, Store
from crowdselect_core.tables import CLUSTERS, check

STAGE, VERSION = "clusters", 1

Vectors = NDArray[np.float32]


def spec(config: SelectConfig, embeddings: Ref) -> Spec:
    """Name the artifact: the embeddings, k and the seed."""
    identity = {"clusters": config.clusters, "seed": config.seed}
    return Spec(STAGE, VERSION, identity, {"embeddings": embeddings.key})


def plan(config: SelectConfig, store: Store, embeddings: Ref) -> Plan:
    """Fit the centres once, then assign every shard to them.

    Output columns: instruction_id, cluster_id (0..k-1), distance (Euclidean, to the centre).

    Raises:
        SelectionError: k above the number of distinct embeddings.
    """
    artifact = embeddings.open(store)
    centers = Once(lambda: _centers(artifact, config.clusters, config.seed))

    def shard(read: Callable[[], pl.DataFrame]) -> Callable[[], Part]:
        def make() -> Part:
            frame = read()
            labels, distances = assign(frame["vector"].to_numpy(), centers())
            table = frame.select("instruction_id").with_columns(
                cluster_id=pl.Series(labels), distance=pl.Series(distances)
            )
            return Part(check(table, CLUSTERS, "clusters"))

        return make

    shards = [shard(read) for read in per_shard(artifact)]
    return Plan(shards, cut=table_cut(artifact), total=len(shards))


def _centers(embeddings: Artifact, k: int, seed: int) -> Vectors:
    ids = embeddings.frame(["instruction_id"])["instruction_id"]
    sample = fit_sample(ids, FIT_ROWS, seed)
    wanted = np.sort(sample)
    kept: list[Vectors] = []
    first = 0
    for frame in embeddings.frames(["vector"]):
        start, end = np.searchsorted(wanted, [first, first + frame.height])
        kept.append(frame["vector"].gather(wanted[start:end] - first).to_numpy())
        first += frame.height
    # Back into id order, so that the order of the data set decides nothing.
    vectors_ND = np.concatenate(kept)[np.searchsorted(wanted, sample)]
    del kept
    check_distinct(vectors_ND, k)
    return fit_clusters(vectors_ND, k, seed)
