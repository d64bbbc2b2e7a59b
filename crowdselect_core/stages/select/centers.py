"""Stage `centers`: the centres of k-means, fitted on all rows or on a seeded sample, and kept."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.embedding import fit_vectors
from crowdselect_core.embedding.kmeans import check_distinct, fit_clusters, fit_rows
from crowdselect_core.errors import SelectionError
from crowdselect_core.stages.base import Stage
from crowdselect_core.stages.refs import Ref
from crowdselect_core.store.artifacts import Artifact, Store
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import Plan, ShardResult, single
from crowdselect_core.tables import centers_schema, check

STAGE, VERSION = "centers", 1

Vectors = NDArray[np.float32]


def spec(config: SelectConfig, embeddings: Ref) -> Spec:
    """Name the artifact: the embeddings, k and the seed."""
    identity = {"clusters": config.clusters, "seed": config.seed}
    return Spec(STAGE, VERSION, identity, {"embeddings": embeddings.key})


def plan(config: SelectConfig, store: Store, embeddings: Ref) -> Plan:
    """Fit the centres.

    Output columns: cluster_id (0..k-1), vector (the centre).

    Raises:
        SelectionError: k above the number of distinct embeddings.
    """

    def make() -> ShardResult:
        centers_KD = _centers(embeddings.open(store), config.clusters, config.seed)
        frame = pl.DataFrame({"cluster_id": np.arange(len(centers_KD))})
        frame = frame.with_columns(vector=pl.Series(centers_KD))
        return ShardResult(check(frame, centers_schema(centers_KD.shape[1]), "centers"))

    return single(make)


CENTERS = Stage("centers", "Fit the centres of k-means.", spec, plan)


def stored(store: Store, centers: Ref) -> Vectors:
    """Return the centres that an artifact of this stage holds."""
    vectors: Vectors = centers.open(store).frame()["vector"].to_numpy()
    return vectors


def _centers(embeddings: Artifact, k: int, seed: int) -> Vectors:
    # In id order, so that the order of the data set decides nothing.
    vectors_ND = fit_vectors(
        lambda: embeddings.frames(["instruction_id", "vector"]), embeddings.rows, fit_rows(k), seed
    )
    if len(vectors_ND) < embeddings.rows:
        _check_all_distinct(vectors_ND, embeddings, k)
    else:
        check_distinct(vectors_ND, k)
    return fit_clusters(vectors_ND, k, seed)


def _check_all_distinct(sample_ND: Vectors, embeddings: Artifact, k: int) -> None:
    """Check the sample first, which nearly always settles it, and only then all shards."""
    try:
        check_distinct(sample_ND, k)
    except SelectionError:
        distinct = pl.concat([f.unique() for f in embeddings.frames(["vector"])]).unique()
        check_distinct(distinct["vector"].to_numpy(), k)
