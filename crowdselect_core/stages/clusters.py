"""Stage `clusters`: k-means over the embeddings, fitted on all rows or on a seeded sample."""

from collections.abc import Callable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.clustering import assign, check_distinct, fit_clusters, fit_rows
from crowdselect_core.config import SelectConfig
from crowdselect_core.embedding import fit_sample
from crowdselect_core.errors import SelectionError
from crowdselect_core.stages.common import Once, Ref, table_cut
from crowdselect_core.store.build import Part, Plan
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.store import Artifact, Store
from crowdselect_core.tables import CLUSTERS, check

STAGE, VERSION = "clusters", 1

KEPT_BYTES = 256 << 20  # vectors up to this are kept between the fit and the assignment

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
    frames = _frames(artifact)
    centers = Once(lambda: _centers(artifact, frames, config.clusters, config.seed))

    def shard(index: int) -> Callable[[], Part]:
        def make() -> Part:
            frame = frames(index)
            labels, distances = assign(frame["vector"].to_numpy(), centers())
            table = frame.select("instruction_id").with_columns(
                cluster_id=pl.Series(labels), distance=pl.Series(distances)
            )
            return Part(check(table, CLUSTERS, "clusters"))

        return make

    shards = [shard(index) for index in range(len(artifact.manifest.shards))]
    return Plan(shards, cut=table_cut(artifact), total=len(shards))


def _frames(embeddings: Artifact) -> Callable[[int], pl.DataFrame]:
    """Return the read of a shard; few vectors are read once and kept, many are read twice."""
    if sum(shard.bytes for shard in embeddings.manifest.shards) > KEPT_BYTES:
        return embeddings.shard
    kept = Once(lambda: list(embeddings.frames()))
    return lambda index: kept()[index]


def _centers(
    embeddings: Artifact, frames: Callable[[int], pl.DataFrame], k: int, seed: int
) -> Vectors:
    ids = embeddings.frame(["instruction_id"])["instruction_id"]
    sample = fit_sample(ids, fit_rows(k), seed)
    wanted = np.sort(sample)
    kept: list[Vectors] = []
    first = 0
    for index in range(len(embeddings.manifest.shards)):
        frame = frames(index)
        start, end = np.searchsorted(wanted, [first, first + frame.height])
        kept.append(frame["vector"].gather(wanted[start:end] - first).to_numpy())
        first += frame.height
    # Back into id order, so that the order of the data set decides nothing.
    vectors_ND = np.concatenate(kept)[np.searchsorted(wanted, sample)]
    del kept
    if len(sample) < len(ids):
        _check_all_distinct(vectors_ND, embeddings, frames, k)
    else:
        check_distinct(vectors_ND, k)
    return fit_clusters(vectors_ND, k, seed)


def _check_all_distinct(
    sample_ND: Vectors, embeddings: Artifact, frames: Callable[[int], pl.DataFrame], k: int
) -> None:
    """Check the sample first, which nearly always settles it, and only then all shards."""
    try:
        check_distinct(sample_ND, k)
    except SelectionError:
        shards = range(len(embeddings.manifest.shards))
        distinct = pl.concat([frames(i).select("vector").unique() for i in shards]).unique()
        check_distinct(distinct["vector"].to_numpy(), k)
