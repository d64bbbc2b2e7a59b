"""Stage `embeddings`: one vector per instruction."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha256

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.config.embedder import EmbedderConfig
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.embedding import Embedder, load_model
from crowdselect_core.ingest.dataset import Dataset
from crowdselect_core.ingest.reader import Partition
from crowdselect_core.models.hub import model_identity
from crowdselect_core.stages.base import Stage
from crowdselect_core.stages.instruction_rows import PLACES, InstructionRows
from crowdselect_core.stages.partitions import open_dataset
from crowdselect_core.stages.refs import Ref
from crowdselect_core.stages.select.embedder import stored
from crowdselect_core.stages.select.row_lookup import RowLookup
from crowdselect_core.stages.shards import by_partition
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.executors.base import Needs
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import Plan, ShardResult
from crowdselect_core.tables import check, embeddings_schema
from crowdselect_core.util.once import Once

STAGE, VERSION = "embeddings", 2
TEXT = "text"  # 16 bytes of the sha256 of what was embedded, by which a vector is carried over

log = logging.getLogger("crowdselect")

Vectors = NDArray[np.float32]


def spec(
    config: SelectConfig,
    instructions: Ref,
    fitted: Ref | None = None,
    earlier: Sequence[Ref] = (),
) -> Spec:
    """Name the artifact: the rows, and the embedder with its weights.

    Raises:
        UserError: the model is not there or cannot be pinned.
    """
    inputs = {"instructions": instructions.key} | ({"embedder": fitted.key} if fitted else {})
    return Spec(STAGE, VERSION, identity(config), inputs)


def identity(config: SelectConfig) -> dict[str, object]:
    """Return what of the config, beside its seed, changes a vector; raises as `spec` does."""
    return embedder_identity(config.embedder)


def embedder_identity(embedder: EmbedderConfig) -> dict[str, object]:
    """Return what of an embedder's config changes a vector; raises as `spec` does."""
    if embedder.kind == "lexical":
        return {"kind": embedder.kind}
    if embedder.kind == "column":
        return {"kind": embedder.kind, "column": embedder.column}
    return {
        "kind": embedder.kind,
        "weights": model_identity(str(embedder.model), embedder.revision),
        "task": embedder.task,
        "prompt_name": embedder.prompt_name,
        "normalize": embedder.normalize,
        "dtype": embedder.dtype,
        "max_length": embedder.max_length,
    }


def plan(
    config: SelectConfig,
    store: Store,
    instructions: Ref,
    fitted: Ref | None = None,
    earlier: Sequence[Ref] = (),
) -> Plan:
    """Embed the instructions partition by partition.

    Output columns: instruction_id, vector (Float32, one width); of a model also `text`.

    Args:
        config: the embedder.
        store: where the artifacts are.
        instructions: the rows; their texts alone are embedded.
        fitted: the lexical embedder.
        earlier: artifacts of this stage; a row whose text stands in one of the same embedder keeps
            its vector. They change no result, and so are no part of the identity.

    Raises:
        DatasetError: no instruction texts, or no such vector column.
    """
    dataset = open_dataset(config)
    rows = InstructionRows(instructions.open(store), dataset.partitions(config.shard_rows))
    made = _maker(config, store, dataset, fitted, earlier)

    def shard(part: Partition) -> ShardResult:
        frame = made(part, *rows.of(part))
        width = frame.schema["vector"].shape[0]  # type: ignore[attr-defined]
        return ShardResult(check(frame, embeddings_schema(width), "embeddings"))

    return by_partition(rows.partitions, shard, config.shard_rows)


def needs(config: SelectConfig) -> Needs:
    """Return what a part takes: a GPU where a model embeds and no other device is named."""
    embedder = config.embedder
    on_gpu = embedder.device is None or embedder.device.startswith("cuda")
    return Needs(gpu=embedder.kind == "sentence-transformers" and on_gpu)


EMBEDDINGS = Stage("embeddings", "Embed the instructions.", spec, plan, needs, PLACES)


Made = Callable[[Partition, pl.DataFrame, NDArray[np.int64]], pl.DataFrame]


def _maker(
    config: SelectConfig,
    store: Store,
    dataset: Dataset,
    fitted: Ref | None,
    earlier: Sequence[Ref],
) -> Made:
    """Return the call that adds the vectors to the rows at some places of a partition."""
    embedder = config.embedder
    if embedder.kind == "column":
        return partial(_of_column, dataset, str(embedder.column))
    if fitted is not None:
        log.info(
            "embedding by TF-IDF and truncated SVD (lexical); the paper uses jina-embeddings-v3"
        )
        return partial(_embedded, dataset, Once(lambda: stored(store, fitted)))
    model: Once[Embedder] = Once(lambda: load_model(embedder))
    opened = [ref.open(store) for ref in earlier]
    alike = [a for a in opened if a.manifest.identity == identity(config)]
    return partial(_carried, dataset, model, RowLookup(alike))


def _of_column(
    dataset: Dataset, column: str, part: Partition, ids: pl.DataFrame, places: NDArray[np.int64]
) -> pl.DataFrame:
    vectors_ND = np.concatenate([vectors for _, vectors in dataset.vectors(part, column)])
    return ids.with_columns(vector=pl.Series(vectors_ND[places]))


def _embedded(
    dataset: Dataset,
    model: Once[Embedder],
    part: Partition,
    ids: pl.DataFrame,
    places: NDArray[np.int64],
) -> pl.DataFrame:
    vectors_ND = model().transform(_texts(dataset, part, places))
    return ids.with_columns(vector=pl.Series(vectors_ND))


def _carried(
    dataset: Dataset,
    model: Once[Embedder],
    earlier: RowLookup,
    part: Partition,
    ids: pl.DataFrame,
    places: NDArray[np.int64],
) -> pl.DataFrame:
    """Embed the texts that no earlier row of the same id has, and carry the others' vectors."""
    texts = _texts(dataset, part, places)
    hashes = [sha256(t.encode("utf-8", "surrogatepass")).digest()[:16] for t in texts]
    rows = ids.with_columns(pl.Series(TEXT, hashes, dtype=pl.Binary))
    there = earlier.of(ids["instruction_id"])
    if there is not None:
        same = there.select("instruction_id", TEXT, "vector").unique("instruction_id")
        rows = rows.join(same, on=["instruction_id", TEXT], how="left", maintain_order="left")
        absent = np.flatnonzero(rows["vector"].is_null().to_numpy())
        log.debug("%d of %d vectors carried over", rows.height - len(absent), rows.height)
        if not len(absent):
            return rows.select("instruction_id", "vector", TEXT)
        vectors_ND = np.empty((rows.height, model().width), dtype=np.float32)
        known = rows["vector"].drop_nulls()
        vectors_ND[np.flatnonzero(rows["vector"].is_not_null().to_numpy())] = known.to_numpy()
        vectors_ND[absent] = model().transform([texts[i] for i in absent.tolist()])
    else:
        vectors_ND = model().transform(texts)
    return rows.select("instruction_id", pl.Series("vector", vectors_ND), TEXT)


def _texts(dataset: Dataset, part: Partition, places: NDArray[np.int64]) -> list[str]:
    """Return the instruction texts at some places of a partition, which are ascending."""
    found: list[str] = []
    for first_row, texts in dataset.instructions(part):
        first = first_row - part.first_row
        start, end = np.searchsorted(places, [first, first + len(texts)])
        found += [texts[place - first] for place in places[start:end].tolist()]
    return found
