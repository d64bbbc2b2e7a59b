"""Stage `sketches`: what near-duplicates of the instructions are looked for by.

The costly part of `duplicate-groups`, cut so that parts spread: words, shingles and MinHash of a
text depend on the text alone. No threshold changes them.
"""

from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.ingest.dataset import Dataset
from crowdselect_core.ingest.reader import Partition
from crowdselect_core.quality.duplicate_groups import exact_key
from crowdselect_core.quality.shingles import words, words_key
from crowdselect_core.quality.sketches import BANDS, Bands, Distinct, Rows, sketched
from crowdselect_core.stages.base import Stage, one_cpu
from crowdselect_core.stages.instruction_rows import PLACES, InstructionRows
from crowdselect_core.stages.partitions import open_dataset, span_of
from crowdselect_core.stages.refs import Ref
from crowdselect_core.stages.shards import by_partition
from crowdselect_core.store.artifacts import Artifact, Store
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import Plan, ShardResult
from crowdselect_core.tables import SKETCHES as TABLE
from crowdselect_core.tables import check
from crowdselect_core.util.versions import version_of

STAGE, VERSION = "sketches", 1


def spec(config: SelectConfig, instructions: Ref) -> Spec:
    """Name the artifact: the rows, and the version of the library that sketches."""
    identity = {"rensa": version_of("rensa")}
    return Spec(STAGE, VERSION, identity, {"instructions": instructions.key})


def plan(config: SelectConfig, store: Store, instructions: Ref) -> Plan:
    """Sketch the instructions partition by partition.

    Output columns: SKETCHES, in the order of the instructions.
    """
    dataset = open_dataset(config)
    rows = InstructionRows(instructions.open(store), dataset.partitions(config.shard_rows))

    def shard(part: Partition) -> ShardResult:
        kept, places = rows.of(part)
        found = [(exact_key(text), words(text)) for text in texts_at(dataset, part, places)]
        keys = [words_key(said) for _, said in found]
        distinct = Distinct.of(keys)
        first_U = distinct.first_U.tolist()
        bands_UB, sizes_U = sketched((found[i][1] for i in first_U), len(first_U))
        # A text without words has the number -1: it takes the row of zeros at the end.
        bands_NB = np.vstack([bands_UB, np.zeros((1, BANDS), np.uint64)])[distinct.number_N]
        sizes_N = np.append(sizes_U, 0)[distinct.number_N]
        table = kept.with_columns(
            pl.Series("exact", [exact for exact, _ in found], dtype=pl.Binary),
            pl.Series("words", keys, dtype=pl.Binary),
            pl.Series("shingles", sizes_N),
            pl.Series("bands", bands_NB),
        )
        return ShardResult(check(table, TABLE, STAGE))

    return by_partition(rows.partitions, shard, config.shard_rows)


SKETCHES = Stage(
    STAGE,
    "Sketch the instructions by MinHash, to find near-duplicates.",
    spec,
    plan,
    one_cpu,
    PLACES,
)


def texts_at(dataset: Dataset, part: Partition, places: NDArray[np.int64]) -> Iterator[str]:
    """Yield the instruction texts at some places of a partition, which ascend."""
    for first_row, batch in dataset.instructions(part):
        first = first_row - part.first_row
        start, end = np.searchsorted(places, [first, first + len(batch)])
        yield from (batch[place - first] for place in places[start:end].tolist())


def keys_of(artifact: Artifact) -> tuple[list[bytes], list[bytes]]:
    """Return the keys of all texts and of their words, in the order of the rows."""
    table = artifact.frame(["exact", "words"])
    return table["exact"].to_list(), table["words"].to_list()


def sketches_of(artifact: Artifact, distinct: Distinct) -> tuple[Bands, Rows]:
    """Return the bands of the distinct texts, and how many shingles each has; see `sketched`."""
    bands_UB = np.empty((len(distinct.first_U), BANDS), dtype=np.uint64)
    sizes_U = np.empty(len(distinct.first_U), dtype=np.int64)
    order = np.argsort(distinct.first_U)
    rows, begin = distinct.first_U[order], 0
    for frame in artifact.frames(["shingles", "bands"]):
        start, end = np.searchsorted(rows, [begin, begin + frame.height])
        own, at = order[start:end], rows[start:end] - begin
        bands_UB[own] = frame["bands"].gather(at).to_numpy()
        sizes_U[own] = frame["shingles"].to_numpy()[at]
        begin += frame.height
    return bands_UB, sizes_U


def texts_of(dataset: Dataset, instructions: InstructionRows, rows: Rows) -> dict[int, str]:
    """Return the texts of some rows of the instructions, which ascend."""
    source_R = instructions.source_N[rows]
    found: dict[int, str] = {}
    for part in instructions.partitions:
        start, end = span_of(source_R, part)
        if end > start:
            texts = texts_at(dataset, part, source_R[start:end] - part.first_row)
            found |= zip(rows[start:end].tolist(), texts, strict=True)
    return found
