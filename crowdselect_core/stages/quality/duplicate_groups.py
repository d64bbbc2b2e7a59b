"""Stage `duplicate-groups`: rows whose instructions are the same, or nearly so.

No method, weight or seed of a run changes the groups: they follow from the instructions and, of
semantic duplicates, from embeddings with the seed 0.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.config.quality import DuplicatesGate, required
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.embedding import fit_sample
from crowdselect_core.embedding.kmeans import fit_rows
from crowdselect_core.ingest.dataset import Dataset
from crowdselect_core.quality import semantic_duplicates as semantic
from crowdselect_core.quality.duplicate_groups import (
    Rows,
    exact_key,
    joined,
    normalised_key,
    same_key_pairs,
)
from crowdselect_core.quality.near_duplicates import agreeing, near_groups
from crowdselect_core.quality.sketches import Distinct, Sketches
from crowdselect_core.stages.base import Stage
from crowdselect_core.stages.instruction_rows import InstructionRows
from crowdselect_core.stages.partitions import open_dataset
from crowdselect_core.stages.quality.sketches import keys_of, sketches_of, texts_at, texts_of
from crowdselect_core.stages.refs import Ref
from crowdselect_core.store.artifacts import Artifact, Store
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import Plan, ShardResult, single

STAGE, VERSION = "duplicate-groups", 1
MOST = semantic.MOST_CLUSTERS
HELD_VECTORS = 500_000  # that are held at a time
BLANK = b""


def spec(
    config: SelectConfig,
    instructions: Ref,
    embeddings: Ref | None = None,
    sketches: Ref | None = None,
) -> Spec:
    """Name the artifact: the rows, the kinds of duplicates and their thresholds."""
    gate = _gate(config)
    identity = {kind: getattr(gate, kind) for kind in gate.kinds}
    inputs = {"instructions": instructions.key}
    if gate.semantic is not None and semantic.clusters_for(instructions.rows) == MOST:
        identity["clusters"] = MOST  # once there were more
    if gate.semantic is not None and embeddings is not None:
        inputs["embeddings"] = embeddings.key
    if sketches is not None:
        inputs["sketches"] = sketches.key
    return Spec(STAGE, VERSION, identity, inputs)


def plan(
    config: SelectConfig,
    store: Store,
    instructions: Ref,
    embeddings: Ref | None = None,
    sketches: Ref | None = None,
) -> Plan:
    """Group the rows, kind after kind; the groups of a kind hold those of the kinds before it.

    Output columns: instruction_id (rows in a group, sorted); then for every kind, the strictest
    first, the least id of the row's group, null where it is alone.
    Memory: 130 bytes a row, 190 with `normalised` or `near`; for `near` also 0.3 kB a distinct
    text, and those that agree with another in a band.

    Args:
        config: the kinds of duplicates.
        store: where the artifacts are.
        instructions: the rows.
        embeddings: of the rows, for `semantic`.
        sketches: of the rows, for `near`.
    """
    gate = _gate(config)

    def make() -> ShardResult:
        table = instructions.open(store)
        ids, dataset = table.frame(["instruction_id"])["instruction_id"], open_dataset(config)
        rows = InstructionRows(table, dataset.partitions(config.shard_rows))
        exact, normalised = _keys(dataset, store, rows, gate, sketches)
        spoken_N = np.array([key != BLANK for key in exact], dtype=bool)
        groups_N = np.arange(len(ids), dtype=np.int64)
        grouped = pl.DataFrame({"instruction_id": ids})
        for kind in gate.kinds:
            if kind == "exact":
                pairs = [same_key_pairs(exact)]
            elif kind == "normalised":
                pairs = [same_key_pairs(normalised)]
            elif kind == "near":
                near_N = _near(dataset, store, rows, sketches, normalised, float(gate.near or 0))
                pairs = [(np.arange(len(near_N)), near_N)]
            else:
                pairs = _semantic(embeddings, store, ids, float(gate.semantic or 0), spoken_N)
            groups_N = joined(groups_N, pairs)
            grouped = grouped.with_columns(_labels(ids, groups_N).alias(kind))
        grouped = grouped.filter(pl.col(gate.kinds[-1]).is_not_null()).sort("instruction_id")
        counts = {kind: grouped[kind].drop_nulls().n_unique() for kind in gate.kinds}
        return ShardResult(grouped, counts)

    return single(make)


DUPLICATE_GROUPS = Stage(STAGE, "Group the rows whose instructions are duplicates.", spec, plan)


def _gate(config: SelectConfig) -> DuplicatesGate:
    gate = required(config.quality).duplicates
    if gate is None:
        raise ValueError("quality.duplicates is off")
    return gate


def _keys(
    dataset: Dataset,
    store: Store,
    rows: InstructionRows,
    gate: DuplicatesGate,
    sketches: Ref | None,
) -> tuple[list[bytes], list[bytes]]:
    """Return the keys of all instructions, and of their words where they are needed."""
    if sketches is not None:
        return keys_of(sketches.open(store))
    exact: list[bytes] = []
    normalised: list[bytes] = []
    for part in rows.partitions:
        for text in texts_at(dataset, part, rows.of(part)[1]):
            exact.append(exact_key(text))
            if gate.normalised:
                normalised.append(normalised_key(text))
    return exact, normalised


def _near(
    dataset: Dataset,
    store: Store,
    rows: InstructionRows,
    sketches: Ref | None,
    normalised: list[bytes],
    threshold: float,
) -> Rows:
    """Return for every row the first row of its group of near-duplicates.

    In one process: a pair is compared only where the pairs before it have not joined it already.
    """
    if sketches is None:
        raise ValueError("near-duplicates need sketches")
    distinct = Distinct.of(normalised)
    bands_UB, sizes_U = sketches_of(sketches.open(store), distinct)
    members = agreeing(bands_UB)
    compared = np.zeros(len(bands_UB), dtype=bool)
    for own in members:
        compared[own] = True
    texts = texts_of(dataset, rows, np.sort(distinct.first_U[compared]))
    return near_groups(Sketches(distinct, bands_UB, sizes_U, texts.__getitem__, threshold), members)


def _labels(ids: pl.Series, groups_N: Rows) -> pl.Series:
    """Return the least id of every row's group, null where the row is alone."""
    frame = pl.DataFrame({"id": ids, "group": groups_N})
    label = pl.col("id").min().over("group")
    return frame.select(pl.when(pl.len().over("group") > 1).then(label)).to_series()


def _semantic(
    embeddings: Ref | None,
    store: Store,
    ids: pl.Series,
    threshold: float,
    spoken_N: NDArray[np.bool_],
) -> list[tuple[Rows, Rows]]:
    """Return pairs of rows whose vectors are near each other; rows without text have none."""
    if embeddings is None:
        raise ValueError("semantic duplicates need embeddings")
    artifact = embeddings.open(store)
    clusters = semantic.clusters_for(len(ids))
    sample = fit_sample([ids], fit_rows(clusters), semantic.SEED)
    centers_KD = semantic.fit_centers(_read(artifact, np.sort(sample))[_rank(sample)], clusters)
    labels, distances = [], []
    for frame in artifact.frames(["vector"]):
        found = semantic.assigned(semantic.unit_length(frame["vector"].to_numpy()), centers_KD)
        labels.append(found[0])
        distances.append(found[1])
    distance_N = np.concatenate(distances)
    by_id_N = ids.rank("ordinal").to_numpy().astype(np.int64)
    pairs = []
    for rows, units_RD in semantic.clusters_of(
        np.concatenate(labels), by_id_N, HELD_VECTORS, lambda wanted: _read(artifact, wanted)
    ):
        for a, b in semantic.similar_pairs(units_RD, distance_N[rows], threshold):
            both = spoken_N[rows[a]] & spoken_N[rows[b]]
            pairs.append((rows[a[both]], rows[b[both]]))
    return pairs


def _rank(places: Rows) -> Rows:
    """Return where each place stands among them in ascending order."""
    return np.argsort(np.argsort(places))


def _read(artifact: Artifact, wanted: Rows) -> semantic.Vectors:
    """Return the unit vectors of some rows, which ascend."""
    found, first = [], 0
    for frame in artifact.frames(["vector"]):
        start, end = np.searchsorted(wanted, [first, first + frame.height])
        found.append(frame["vector"].gather(wanted[start:end] - first).to_numpy())
        first += frame.height
    return semantic.unit_length(np.concatenate(found))
